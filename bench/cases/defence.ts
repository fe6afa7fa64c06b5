import type { BenchCase } from '../harness/types.js';

export const defence: BenchCase = {
  name: 'defence',
  summary:
    'antidistillation sampling of a 9 M teacher with a proxy of 3/7 of its compute, against plain sampling in the same process',
  metrics: [
    { quantity: 'plain sampling', unit: 'tokens/s', key: 'plainTokensPerSecond' },
    { quantity: 'central differences / plain', unit: 'time', key: 'centralRelative' },
    { quantity: 'exact derivative / plain', unit: 'time', key: 'jvpRelative' },
    { quantity: "proxy's share of the teacher's compute", unit: '', key: 'proxyShareOfCompute' },
  ],
  groups: ({ threads, seconds }) =>
    threads.flatMap((count) =>
      [1, 32].map((batch) => {
        const options = { threads: count, batch, prompt: 16, newTokens: batch === 1 ? 200 : 100, seconds };
        return {
          setting: `9 M, batch ${batch}`,
          threads: count,
          series: [{ who: 'azeotrope', command: { kind: 'measure' as const, name: 'defence', options } }],
        };
      }),
    ),
};
