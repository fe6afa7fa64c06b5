import { pythonPeer } from '../harness/peers.js';
import type { BenchCase } from '../harness/types.js';
import { productCommand } from './product.js';

const SETTINGS = { a: '0.9 M (d128 L4 V512, 32×128)', b: '9 M (d320 L6 V4096, 16×128)' } as const;

export const trainStep: BenchCase = {
  name: 'train-step',
  summary: 'forward, backward, clipping and AdamW on one batch, beside PyTorch (float32, eager)',
  metrics: [
    {
      quantity: 'training',
      unit: 'tokens/s',
      key: 'tokensPerSecond',
      peers: { PyTorch: 'tokensPerSecondMedian' },
      hasShare: true,
    },
    { quantity: 'peak memory', unit: 'MB', scale: 1e-6, key: 'peakRssBytes', peers: { PyTorch: 'peakRssBytes' } },
    { quantity: 'start to end of the first step', unit: 'ms', key: 'firstStepMs' },
  ],
  groups: ({ threads, seconds, peers: { python } }) =>
    threads.flatMap((count) =>
      (['a', 'b'] as const).map((shape) => ({
        setting: SETTINGS[shape],
        threads: count,
        series: [
          { who: 'product', command: productCommand(count) },
          {
            who: 'azeotrope',
            command: { kind: 'measure' as const, name: 'train-step', options: { shape, threads: count, seconds } },
          },
          ...(python === undefined
            ? []
            : [
                {
                  who: 'PyTorch',
                  command: pythonPeer(python, 'pytorch_train.py', { config: shape, threads: count, seconds }),
                },
              ]),
        ],
      })),
    ),
};
