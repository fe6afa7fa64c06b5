import type { BenchCase, Command } from '../harness/types.js';

/** Time of a measurement of the product rate; it settles fast. */
const SECONDS = 2;

/** The yardstick of a group: its samples stand under `product`. */
export const productCommand = (threads: number): Command => ({
  kind: 'measure',
  name: 'product',
  options: { threads, seconds: SECONDS },
});

export const product: BenchCase = {
  name: 'product',
  summary: '1024³ float32 product through the runtime',
  metrics: [{ quantity: 'rate', unit: 'GFLOP/s', key: 'gflops' }],
  groups: ({ threads }) =>
    threads.map((count) => ({
      setting: '1024³ float32',
      threads: count,
      series: [{ who: 'azeotrope', command: productCommand(count) }],
    })),
};
