import { pythonPeer } from '../harness/peers.js';
import type { BenchCase } from '../harness/types.js';
import { productCommand } from './product.js';

const CONTEXT = 256;
const PROMPT = 16;

export const decode: BenchCase = {
  name: 'decode',
  summary: `greedy decoding at 9 M parameters until the context holds ${CONTEXT} tokens, beside transformers (static cache)`,
  metrics: [
    {
      quantity: 'decoding',
      unit: 'tokens/s',
      key: 'decodeTokensPerSecond',
      peers: { transformers: 'decodeTokensPerSecondMedian' },
      hasShare: true,
    },
    { quantity: `decoding near context ${CONTEXT}`, unit: 'tokens/s', key: 'fullContextTokensPerSecond' },
    { quantity: 'outside the engine', unit: 'fraction of wall time', key: 'overheadFraction' },
    { quantity: 'processor time / wall time', unit: '', key: 'cpuOverWall' },
    { quantity: 'peak memory', unit: 'MB', scale: 1e-6, key: 'peakRssBytes', peers: { transformers: 'peakRssBytes' } },
  ],
  groups({ threads, seconds, quick, peers: { python } }) {
    const newTokens = CONTEXT - PROMPT;
    return threads.flatMap((count) =>
      (quick ? [32] : [1, 8, 32]).map((batch) => {
        const options = { shape: 'b', threads: count, batch, prompt: PROMPT, newTokens, seconds };
        const flags = {
          config: 'b',
          batch,
          prompt: PROMPT,
          new: newTokens,
          threads: count,
          repeats: 1,
          cache: 'static',
        };
        return {
          setting: `9 M, batch ${batch}`,
          threads: count,
          series: [
            { who: 'product', command: productCommand(count) },
            {
              who: 'azeotrope',
              command: { kind: 'measure' as const, name: 'decode', options: { ...options, isOverheadClocked: true } },
            },
            ...(python === undefined
              ? []
              : [{ who: 'transformers', command: pythonPeer(python, 'transformers_decode.py', flags) }]),
          ],
        };
      }),
    );
  },
};
