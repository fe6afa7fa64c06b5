import { excessPerDoubling, fittedExponent, priceGrowthPerDoubling } from '../harness/summary.js';
import { formatNumber } from '../harness/table.js';
import type { BenchCase, Group, GroupResult, Table } from '../harness/types.js';
import type { DecodePoint } from '../measure/decode-scaling.js';
import type { TrainPoint } from '../measure/train-scaling.js';

/**
 * Flagged is an interval where cost outgrows the arithmetic by more than this factor for each doubling, and where the price of
 * one more operation grows so as well (of the first interval that is not known). The first alone is also what a slower part does
 * whose share grows.
 */
const ALLOWED_EXCESS = 1.25;
const TRAIN_STEPS = 5;
const DECODE_STEPS = 24;
const VOCABULARIES = [512, 2048, 8192, 32768];
const MILLIONS = { a: 0.92, b: 8.97, c: 28 } as const;

function trainDimensions(quick: boolean): Readonly<Record<string, readonly TrainPoint[]>> {
  const batches = quick ? [1, 8, 64] : [1, 2, 4, 8, 16, 32, 64];
  const contexts = quick ? [64, 256, 1024] : [64, 128, 256, 512, 1024];
  return {
    'parameters (M), 8×128 tokens': (['a', 'b', 'c'] as const).map((shape) => {
      return { x: MILLIONS[shape], shape, batch: 8, time: 128 };
    }),
    'batch, 0.9 M, 128 tokens a row': batches.map((batch) => ({ x: batch, shape: 'a', batch, time: 128 })),
    'context, 0.9 M, 4 rows': contexts.map((time) => ({ x: time, shape: 'a', batch: 4, time })),
    'vocabulary, d128 L4, 8×128 tokens': VOCABULARIES.map((vocab) => {
      return { x: vocab, shape: 'a', vocab, batch: 8, time: 128 };
    }),
  };
}

function decodeDimensions(quick: boolean): Readonly<Record<string, readonly DecodePoint[]>> {
  const batches = quick ? [1, 8, 64] : [1, 2, 4, 8, 16, 32, 64];
  const contexts = quick ? [64, 256, 1024] : [64, 128, 256, 512, 1024];
  return {
    'parameters (M), batch 8': (['a', 'b', 'c'] as const).map((shape) => {
      return { x: MILLIONS[shape], shape, batch: 8, context: 128 };
    }),
    'batch, 9 M, context 128': batches.map((batch) => ({ x: batch, shape: 'b', batch, context: 128 })),
    'context, 9 M, batch 8': contexts.map((context) => ({ x: context, shape: 'b', batch: 8, context })),
    'vocabulary, d128 L4, batch 8': VOCABULARIES.map((vocab) => {
      return { x: vocab, shape: 'a', vocab, batch: 8, context: 128 };
    }),
  };
}

interface MeasuredPoint {
  readonly x: number;
  readonly costMs: number;
  readonly gflop: number;
}

export const scaling: BenchCase = {
  name: 'scaling',
  summary: 'cost of a training step and of a decode step against parameters, batch, context and vocabulary (1 thread)',
  metrics: [],
  groups({ quick }) {
    const group = (setting: string, name: string, options: Readonly<Record<string, unknown>>): Group => ({
      setting,
      threads: 1,
      series: [{ who: 'azeotrope', command: { kind: 'measure', name, options: { ...options, threads: 1 } } }],
    });
    return [
      ...Object.entries(trainDimensions(quick)).map(([name, points]) =>
        group(`training step against ${name}`, 'train-scaling', { points, steps: TRAIN_STEPS }),
      ),
      ...Object.entries(decodeDimensions(quick)).map(([name, points]) =>
        group(`decode step against ${name}`, 'decode-scaling', { points, steps: DECODE_STEPS }),
      ),
    ];
  },
  table(results) {
    const rows = results.flatMap(scalingRow);
    const header = [
      'cost of a',
      'at',
      'ms',
      'GFLOP',
      'GFLOP/s',
      'cost ∝ x to the',
      'excess a doubling',
      'price growth a doubling',
      '',
    ];
    return rows.length === 0 ? undefined : { title: 'Scaling', header, rows };
  },
};

/** One row a dimension: the best of the rounds at each point, since disturbance only ever adds. */
function scalingRow({ group, rounds }: GroupResult): Table['rows'] {
  const measured = rounds.flatMap(({ azeotrope }) => (azeotrope ? [azeotrope.points as MeasuredPoint[]] : []));
  if (measured.length === 0) return [];
  const points = measured[0].map(({ x, gflop }, index) => {
    return { x, flop: gflop, cost: Math.min(...measured.map((round) => round[index].costMs)) };
  });
  const excess = excessPerDoubling(points);
  const priceGrowth = priceGrowthPerDoubling(points);
  const list = (values: readonly number[]) => values.map(formatNumber).join(' ');
  return [
    [
      group.setting,
      list(points.map(({ x }) => x)),
      list(points.map(({ cost }) => cost)),
      list(points.map(({ flop }) => flop)),
      list(points.map(({ flop, cost }) => (flop / cost) * 1000)),
      fittedExponent(points).toFixed(2),
      excess.map((value) => value.toFixed(2)).join(' '),
      priceGrowth.map((value) => (Number.isNaN(value) ? '–' : value.toFixed(2))).join(' '),
      excess.some((value, index) => value > ALLOWED_EXCESS && !(priceGrowth[index - 1] <= ALLOWED_EXCESS))
        ? 'FASTER THAN ITS ARITHMETIC'
        : 'ok',
    ],
  ];
}
