import { median } from '../../src/support/statistics.js';
import { pythonPeer } from '../harness/peers.js';
import type { BenchCase, Command, GroupResult } from '../harness/types.js';

const BESIDE = ', beside a busy process';
const PEER = { training: 'PyTorch bfloat16', decoding: 'transformers bfloat16' };
const [PROMPT, NEW_TOKENS, BATCH] = [16, 112, 32];
const LLAMA_CPP = 'llama.cpp (weights of 4 bits)';

/** Each alone and beside, in turns. */
const pair = (who: string, command: Command) => [
  { who, command },
  { who: `${who}${BESIDE}`, command: { ...command, isBeside: true } },
];

const RATES: Readonly<Record<string, string>> = {
  [PEER.training]: 'tokensPerSecondMedian',
  [PEER.decoding]: 'decodeTokensPerSecondMedian',
  [LLAMA_CPP]: 'decodeTokensPerSecondMedian',
};
const rateOf = (who: string, sample: Readonly<Record<string, unknown>> | undefined): number => {
  const name = who.replace(BESIDE, '');
  const key = RATES[name] ?? ('decodeTokensPerSecond' in (sample ?? {}) ? 'decodeTokensPerSecond' : 'tokensPerSecond');
  return Number(sample?.[key] ?? Number.NaN);
};

export const busyMachine: BenchCase = {
  name: 'busy-machine',
  summary:
    'training and decoding at 9 M and decoding SmolLM2-135M in bfloat16 on two threads, alone and beside a process that keeps a core busy',
  metrics: [],
  groups({ seconds, model, peers: { python, llamaPython } }) {
    const threads = 2;
    const own = (name: string, options: object) =>
      pair('azeotrope', { kind: 'measure', name, options: { threads, seconds, precision: 'bfloat16', ...options } });
    const lengths = { prompt: PROMPT, newTokens: NEW_TOKENS };
    const decoding = {
      config: 'b',
      batch: BATCH,
      prompt: PROMPT,
      new: NEW_TOKENS,
      threads,
      repeats: 1,
      cache: 'static',
    };
    return [
      {
        setting: 'training, 9 M',
        threads,
        series: [
          ...own('train-step', { shape: 'b' }),
          ...(python === undefined
            ? []
            : pair(
                PEER.training,
                pythonPeer(python, 'pytorch_train.py', { config: 'b', threads, seconds, bf16: true }),
              )),
        ],
      },
      {
        setting: `decoding, 9 M, batch ${BATCH}`,
        threads,
        series: [
          ...own('decode', { shape: 'b', batch: BATCH, ...lengths }),
          ...(python === undefined
            ? []
            : pair(PEER.decoding, pythonPeer(python, 'transformers_decode.py', { ...decoding, dtype: 'bfloat16' }))),
        ],
      },
      ...(model === undefined ? [] : [1, BATCH].map((batch) => ({ model, batch }))).map(({ model, batch }) => ({
        setting: `decoding, SmolLM2-135M, batch ${batch}`,
        threads,
        series: [
          ...own('decode', { model, batch, ...lengths }),
          ...(llamaPython === undefined
            ? []
            : pair(
                LLAMA_CPP,
                pythonPeer(llamaPython, 'llama_cpp.py', { model, batch, prompt: PROMPT, new: NEW_TOKENS, threads }),
              )),
        ],
      })),
    ];
  },
  table: (results) => ({
    title: 'Beside a busy process: two threads on the cores that it shares',
    header: ['work', 'who', 'alone, tokens/s', 'beside, tokens/s', 'kept'],
    rows: results.flatMap(rowsOf),
  }),
};

function rowsOf({ group, rounds }: GroupResult): string[][] {
  const names = group.series.map(({ who }) => who).filter((who) => !who.endsWith(BESIDE));
  return names.map((who) => {
    const of = (name: string) =>
      median(rounds.flatMap((samples) => (samples[name] ? [rateOf(name, samples[name])] : [])));
    const [alone, beside] = [of(who), of(`${who}${BESIDE}`)];
    return [group.setting, who, alone.toFixed(0), beside.toFixed(0), (beside / alone).toFixed(2)];
  });
}
