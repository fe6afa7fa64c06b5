import type { BenchCase } from '../harness/types.js';

export const finetune: BenchCase = {
  name: 'finetune',
  summary: 'SmolLM2-135M learns 500 word problems by LoRA; loss and answers on 100 held-out ones before and after',
  isLong: true,
  metrics: [
    { quantity: 'held-out loss before', unit: 'nats/token', key: 'lossNatsBefore' },
    { quantity: 'held-out loss after', unit: 'nats/token', key: 'lossNatsAfter' },
    { quantity: 'held-out answers right before', unit: 'fraction', key: 'correctFractionBefore' },
    { quantity: 'held-out answers right after', unit: 'fraction', key: 'correctFractionAfter' },
    { quantity: 'steps', unit: '', key: 'numSteps' },
    { quantity: 'training', unit: 's', key: 'trainSeconds' },
    { quantity: 'whole job', unit: 's', key: 'jobSeconds' },
    { quantity: 'peak memory', unit: 'MB', scale: 1e-6, key: 'peakRssBytes' },
  ],
  groups({ model, wordProblems, threads, quick, log }) {
    if (model === undefined || wordProblems === undefined) {
      log('finetune: give a model with --model FILE.gguf and SVAMP rows with --problems svamp.jsonl');
      return [];
    }
    const count = Math.max(...threads);
    const sizes = quick
      ? { numTraining: 32, numHeldOut: 16, epochs: 1 }
      : { numTraining: 500, numHeldOut: 100, epochs: 2 };
    const options = { model, problems: wordProblems, threads: count, ...sizes };
    return [
      {
        setting: `LoRA rank 16, ${sizes.numTraining} rows, ${sizes.epochs} epochs`,
        threads: count,
        rounds: 1,
        series: [{ who: 'azeotrope', command: { kind: 'measure', name: 'finetune', options } }],
      },
    ];
  },
};
