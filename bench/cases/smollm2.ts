import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Precision } from '../../src/engine/onnx/emitter.js';
import { nodePeer, pythonPeer } from '../harness/peers.js';
import { runCommand } from '../harness/run-command.js';
import type { BenchCase, BenchContext, Group } from '../harness/types.js';
import { limitsCommand } from './limits.js';

const PROMPT = 64;
const NEW_TOKENS = 128;
/** Of the runs after a context of some length. */
const LONG_PROMPT = { prompt: 256, newTokens: 64 };
const HALF_PEER = 'transformers bfloat16';
const LLAMA_CPP = 'llama.cpp (weights of 4 bits)';
/** The same through its binding for Node, one sequence at a time. */
const NODE_LLAMA_CPP = 'node-llama-cpp';
const SCORED_ROWS = 8;

export const smollm2: BenchCase = {
  name: 'smollm2',
  summary:
    'a real model of 135 M parameters: loading, decoding, prompts, scoring; transformers and llama.cpp beside it',
  metrics: [
    {
      quantity: 'loading',
      unit: 's',
      key: 'loadSeconds',
      peers: { transformers: 'loadSeconds', [HALF_PEER]: 'loadSeconds', [LLAMA_CPP]: 'loadSeconds' },
    },
    {
      quantity: 'decoding',
      unit: 'tokens/s',
      key: 'decodeTokensPerSecond',
      peers: {
        transformers: 'decodeTokensPerSecondMedian',
        [HALF_PEER]: 'decodeTokensPerSecondMedian',
        [LLAMA_CPP]: 'decodeTokensPerSecondMedian',
        [NODE_LLAMA_CPP]: 'decodeTokensPerSecondMedian',
      },
      shares: { products: 'gflops', memory: 'readGigabytesPerSecond' },
    },
    {
      quantity: 'prompts',
      unit: 'tokens/s',
      key: 'promptTokensPerSecond',
      shares: { products: 'promptGflops' },
      peers: {
        transformers: 'promptTokensPerSecondMedian',
        [HALF_PEER]: 'promptTokensPerSecondMedian',
        [LLAMA_CPP]: 'promptTokensPerSecondMedian',
        [NODE_LLAMA_CPP]: 'promptTokensPerSecondMedian',
      },
    },
    {
      quantity: 'prompts and responses',
      unit: 'response tokens/s',
      key: 'endToEndTokensPerSecond',
      peers: { transformers: 'endToEndTokensPerSecondMedian', [HALF_PEER]: 'endToEndTokensPerSecondMedian' },
    },
    {
      quantity: 'peak memory',
      unit: 'MB',
      scale: 1e-6,
      key: 'peakRssBytes',
      peers: {
        transformers: 'peakRssBytes',
        [HALF_PEER]: 'peakRssBytes',
        [LLAMA_CPP]: 'peakRssBytes',
        [NODE_LLAMA_CPP]: 'peakRssBytes',
      },
    },
    { quantity: 'scoring', unit: 'tokens/s', key: 'tokensPerSecond' },
    { quantity: 'scoring with the 5 likeliest', unit: 'tokens/s', key: 'topTokensPerSecond' },
  ],
  async groups(context) {
    const { model, threads } = context;
    if (model === undefined) {
      context.log('smollm2: no model; give one with --model FILE.gguf');
      return [];
    }
    const folder = context.peers.python === undefined ? undefined : await exported(model, context.scratch);
    return threads.flatMap((count) => [
      ...(['float32', 'bfloat16'] as const).flatMap((precision) =>
        [32, 1].map((batch) => decodeGroup(context, { model, folder, threads: count, batch, precision })),
      ),
      ...[32, 1].map((batch) =>
        decodeGroup(context, { model, folder, threads: count, batch, precision: 'bfloat16', ...LONG_PROMPT }),
      ),
      {
        setting: `scoring, ${SCORED_ROWS} rows of 128`,
        threads: count,
        series: [
          {
            who: 'azeotrope',
            command: {
              kind: 'measure',
              name: 'scoring',
              options: { model, threads: count, rows: SCORED_ROWS, time: 128, seconds: 1 },
            },
          },
        ],
      },
    ]);
  },
};

function decodeGroup(
  { peers, seconds }: BenchContext,
  run: {
    model: string;
    folder: string | undefined;
    threads: number;
    batch: number;
    precision: Precision;
    prompt?: number;
    newTokens?: number;
  },
): Group {
  const { model, folder, threads, batch, precision, prompt = PROMPT, newTokens = NEW_TOKENS } = run;
  const isHalf = precision === 'bfloat16';
  const flags = { prompt, new: newTokens, threads, repeats: 1 };
  const options = { model, threads, batch, prompt, newTokens, seconds, precision };
  const series: Group['series'][number][] = [
    { who: 'limits', command: limitsCommand(threads) },
    { who: 'azeotrope', command: { kind: 'measure', name: 'decode', options } },
  ];
  if (peers.python !== undefined && folder !== undefined) {
    const command = pythonPeer(peers.python, 'transformers_decode.py', {
      model: folder,
      batch,
      cache: 'static',
      dtype: precision,
      ...flags,
    });
    series.push({ who: isHalf ? HALF_PEER : 'transformers', command });
  }
  if (peers.llamaPython !== undefined) {
    series.push({ who: LLAMA_CPP, command: pythonPeer(peers.llamaPython, 'llama_cpp.py', { model, batch, ...flags }) });
  }
  if (peers.hasNodeLlamaCpp && batch === 1) {
    series.push({ who: NODE_LLAMA_CPP, command: nodePeer('llama_cpp.mjs', { model, ...flags }) });
  }
  const length = prompt === PROMPT ? '' : `, prompt of ${prompt}`;
  return { setting: `${isHalf ? 'bfloat16, ' : ''}SmolLM2-135M, batch ${batch}${length}`, threads, series };
}

/** The same weights as a float32 folder, made once. */
async function exported(model: string, scratch: string): Promise<string> {
  const folder = join(scratch, `${basename(model, '.gguf')}-float32`);
  if (existsSync(join(folder, 'config.json'))) return folder;
  await mkdir(scratch, { recursive: true });
  await runCommand({ kind: 'measure', name: 'export-checkpoint', options: { model, folder } }, 1);
  return folder;
}
