import type { BenchCase, Command } from '../harness/types.js';

/** Time of each of the three rates; they settle fast. */
const SECONDS = 1;

/** The yardstick of a group: its samples stand under `limits`. */
export const limitsCommand = (threads: number): Command => ({
  kind: 'measure',
  name: 'limits',
  options: { threads, seconds: SECONDS },
});

export const limits: BenchCase = {
  name: 'limits',
  summary: 'what the machine reaches: 1024³ products through the engine, memory read',
  metrics: [
    { quantity: 'products in float32', unit: 'GFLOP/s', key: 'float32Gflops' },
    { quantity: 'products in bfloat16', unit: 'GFLOP/s', key: 'bfloat16Gflops' },
    { quantity: 'memory read', unit: 'GB/s', key: 'memoryGigabytesPerSecond' },
  ],
  groups: ({ threads }) =>
    threads.map((count) => ({
      setting: 'limits',
      threads: count,
      series: [{ who: 'azeotrope', command: limitsCommand(count) }],
    })),
};
