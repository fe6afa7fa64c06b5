import type { BenchCase } from '../harness/types.js';

const SETTINGS = {
  a: '0.9 M, 4 prompts × 8 responses, 32 + 96 tokens',
  b: '9 M, 4 prompts × 8 responses, 32 + 96 tokens',
} as const;

export const distill: BenchCase = {
  name: 'distill',
  summary:
    'adversarial steps and steps towards a teacher’s distributions beside supervised ones on as many rows, and rollouts beside plain decoding; every ratio from one process',
  metrics: [
    { quantity: 'adversarial step / supervised step', unit: '', key: 'stepRatio' },
    { quantity: 'rollouts / plain decoding', unit: '', key: 'rolloutShare' },
    { quantity: 'white-box step / supervised step', unit: '', key: 'whiteBoxRatio' },
    { quantity: 'prompt tokens computed for each of a group’s prompt', unit: '', key: 'computedPromptShare' },
    { quantity: 'adversarial step', unit: 'ms', key: 'stepMs' },
    { quantity: 'rollouts', unit: 'ms', key: 'rolloutMs' },
    { quantity: 'scores', unit: 'ms', key: 'scoreMs' },
    { quantity: 'student, reference included', unit: 'ms', key: 'studentMs' },
    { quantity: 'discriminator', unit: 'ms', key: 'discriminatorMs' },
    { quantity: 'supervised step', unit: 'ms', key: 'supervisedMs' },
    { quantity: 'sampling against training, largest difference', unit: 'nats', key: 'largestDifferenceNats' },
    { quantity: 'peak memory', unit: 'MB', scale: 1e-6, key: 'peakRssBytes' },
  ],
  groups: ({ threads, seconds, quick }) =>
    threads.flatMap((count) =>
      (quick ? (['a'] as const) : (['a', 'b'] as const)).map((shape) => ({
        setting: SETTINGS[shape],
        threads: count,
        series: [
          {
            who: 'azeotrope',
            command: { kind: 'measure', name: 'distill', options: { shape, threads: count, seconds } },
          },
        ],
      })),
    ),
};
