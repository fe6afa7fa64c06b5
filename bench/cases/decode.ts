import { pythonPeer } from '../harness/peers.js';
import type { BenchCase } from '../harness/types.js';
import { limitsCommand } from './limits.js';

const CONTEXT = 256;
const PROMPT = 16;
const HALF_PEER = 'transformers bfloat16';

export const decode: BenchCase = {
  name: 'decode',
  summary: `greedy decoding at 9 M parameters until the context holds ${CONTEXT} tokens, in float32 and bfloat16, beside transformers (static cache)`,
  metrics: [
    {
      quantity: 'decoding',
      unit: 'tokens/s',
      key: 'decodeTokensPerSecond',
      peers: { transformers: 'decodeTokensPerSecondMedian', [HALF_PEER]: 'decodeTokensPerSecondMedian' },
      shares: { products: 'gflops', memory: 'readGigabytesPerSecond' },
    },
    { quantity: `decoding near context ${CONTEXT}`, unit: 'tokens/s', key: 'fullContextTokensPerSecond' },
    { quantity: 'outside the engine', unit: 'fraction of wall time', key: 'overheadFraction' },
    { quantity: 'processor time / wall time', unit: '', key: 'cpuOverWall' },
    {
      quantity: 'peak memory',
      unit: 'MB',
      scale: 1e-6,
      key: 'peakRssBytes',
      peers: { transformers: 'peakRssBytes', [HALF_PEER]: 'peakRssBytes' },
    },
  ],
  groups({ threads, seconds, quick, peers: { python } }) {
    const newTokens = CONTEXT - PROMPT;
    const runs = (['float32', 'bfloat16'] as const).flatMap((precision) =>
      (quick ? [32] : [1, 8, 32]).map((batch) => ({ precision, batch })),
    );
    return threads.flatMap((count) =>
      runs.map(({ precision, batch }) => {
        const options = { shape: 'b', threads: count, batch, prompt: PROMPT, newTokens, seconds, precision };
        const flags = {
          config: 'b',
          batch,
          prompt: PROMPT,
          new: newTokens,
          threads: count,
          repeats: 1,
          cache: 'static',
        };
        const isHalf = precision === 'bfloat16';
        return {
          setting: `${isHalf ? 'bfloat16, ' : ''}9 M, batch ${batch}`,
          threads: count,
          series: [
            { who: 'limits', command: limitsCommand(count) },
            {
              who: 'azeotrope',
              command: { kind: 'measure' as const, name: 'decode', options: { ...options, isOverheadClocked: true } },
            },
            ...(python === undefined
              ? []
              : [
                  {
                    who: isHalf ? HALF_PEER : 'transformers',
                    command: pythonPeer(python, 'transformers_decode.py', { ...flags, dtype: precision }),
                  },
                ]),
          ],
        };
      }),
    );
  },
};
