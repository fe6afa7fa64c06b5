import type { BenchCase, Table } from '../harness/types.js';
import type { ParityDifference } from '../measure/llama-parity.js';

export const llamaParity: BenchCase = {
  name: 'llama-parity',
  summary: 'greedy tokens of 20 prompts against the recorded ones of llama.cpp and of float32 transformers',
  metrics: [
    { quantity: 'prompts', unit: '', key: 'numPrompts' },
    { quantity: 'prompts whose first 32 tokens equal llama.cpp', unit: '', key: 'numEqualToLlamaCpp' },
    { quantity: 'prompts whose first 32 tokens equal float32', unit: '', key: 'numEqualToFloat32' },
    { quantity: 'largest gap at a difference from llama.cpp', unit: 'logits', key: 'largestGap' },
  ],
  groups({ model, log }) {
    if (model === undefined) {
      log('llama-parity: no model; give one with --model FILE.gguf');
      return [];
    }
    const command = { kind: 'measure', name: 'llama-parity', options: { model, threads: 1 } } as const;
    return [{ setting: 'SmolLM2-135M, greedy', threads: 1, rounds: 1, series: [{ who: 'azeotrope', command }] }];
  },
  table(results): Table | undefined {
    const sample = results[0]?.rounds[0]?.azeotrope;
    if (sample === undefined) return undefined;
    const rowsOf = (other: string, differences: readonly ParityDifference[]) =>
      differences.map(({ id, index, azeotrope, other: token, isSecondBest, gap }) => [
        other,
        id,
        String(index),
        `${azeotrope} / ${token}`,
        gap === null ? 'left float32 before' : gap.toFixed(4),
        isSecondBest ? 'yes' : 'no',
      ]);
    const rows = [
      ...rowsOf('llama.cpp', sample.fromLlama as ParityDifference[]),
      ...rowsOf('float32', sample.fromFloat32 as ParityDifference[]),
    ];
    const header = ['against', 'prompt', 'first difference at', 'tokens', 'float32 gap (logits)', 'second-best'];
    return rows.length === 0 ? undefined : { title: 'First differences of greedy tokens', header, rows };
  },
};
