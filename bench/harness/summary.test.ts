import assert from 'node:assert/strict';
import test from 'node:test';
import { excessPerDoubling, fittedExponent, priceGrowthPerDoubling, resultRows, summarize } from './summary.js';
import type { GroupResult, Metric } from './types.js';

const METRIC: Metric = {
  quantity: 'speed',
  unit: '1/s',
  key: 'speed',
  peers: { other: 'rate' },
  shares: { products: 'gflops', memory: 'gigabytes' },
};

const HALF = { precision: 'bfloat16' };
const LIMITS = { float32Gflops: 1000, bfloat16Gflops: 10, memoryGigabytesPerSecond: 4 };

function resultOf(rounds: GroupResult['rounds']): GroupResult {
  return { group: { setting: 's', threads: 1, series: [] }, rounds };
}

test('a summary of no values is none, of some their range and median', () => {
  assert.equal(summarize([]), undefined);
  assert.deepEqual(summarize([5, 1, 2, 100]), { n: 4, min: 1, median: 3.5, max: 100 });
});

test('ratios and shares pair the samples of one round', () => {
  // Both slow down tenfold in the second round: within rounds the ratio stays 2, across medians it would not.
  const result = resultOf([
    { azeotrope: { speed: 20, gflops: 5, ...HALF, gigabytes: 3 }, other: { rate: 10 }, limits: LIMITS },
    { azeotrope: { speed: 2, gflops: 0.5, ...HALF }, other: { rate: 1 }, limits: { ...LIMITS, bfloat16Gflops: 1 } },
    { azeotrope: { speed: 22, gflops: 6, ...HALF }, limits: LIMITS },
  ]);
  const [row] = resultRows('case', result, [METRIC]);
  assert.deepEqual(row.azeotrope, { n: 3, min: 2, median: 20, max: 22 });
  assert.deepEqual(row.peer, { who: 'other', n: 2, min: 1, median: 5.5, max: 10 });
  assert.deepEqual(row.ratio, { n: 2, min: 2, median: 2, max: 2 });
  assert.deepEqual(row.shareOfProducts, { n: 3, min: 0.5, median: 0.5, max: 0.6 });
  assert.deepEqual(row.shareOfMemory, { n: 1, min: 0.75, median: 0.75, max: 0.75 });
});

test('a metric whose peer is missing stands alone, and one that azeotrope did not measure is left out', () => {
  const result = resultOf([{ azeotrope: { speed: 3, other: 'text' } }]);
  const rows = resultRows('case', result, [METRIC, { ...METRIC, key: 'other' }]);
  assert.equal(rows.length, 1);
  assert.equal(rows[0].peer, undefined);
  assert.equal(rows[0].ratio, undefined);
});

test('a metric is scaled to its unit on both sides', () => {
  const result = resultOf([{ azeotrope: { speed: 3e6 }, other: { rate: 6e6 } }]);
  const [row] = resultRows('case', result, [{ ...METRIC, scale: 1e-6 }]);
  assert.equal(row.azeotrope.median, 3);
  assert.equal(row.peer?.median, 6);
});

const powers = (cost: (x: number) => number, flop: (x: number) => number = (x) => x) =>
  [1, 2, 4, 8].map((x) => ({ x, cost: cost(x), flop: flop(x) }));
const close = (values: readonly number[], expected: number) => {
  for (const value of values) assert.ok(Math.abs(value - expected) < 1e-9, `${value} is not ${expected}`);
};

test('a power law gives its exponent', () => {
  close([fittedExponent(powers((x) => 3 * x ** 1.7))], 1.7);
});

test('cost proportional to arithmetic has no excess, quadratic cost of linear arithmetic twice the cost a doubling', () => {
  close(
    excessPerDoubling(
      powers(
        (x) => 5 * x ** 2,
        (x) => x ** 2,
      ),
    ),
    1,
  );
  close(excessPerDoubling(powers((x) => x ** 2)), 2);
  // Points four apart: the excess is that of one doubling all the same.
  close(
    excessPerDoubling([
      { x: 1, cost: 1, flop: 1 },
      { x: 4, cost: 16, flop: 4 },
    ]),
    2,
  );
});

test('a part that is slower an operation, with a growing share, has excess but a constant price', () => {
  // Operations: 100 fast ones at 1 each, x slow ones at 10 each.
  const points = powers(
    (x) => 100 + 10 * x,
    (x) => 100 + x,
  );
  assert.ok(excessPerDoubling(points).every((value) => value > 1));
  close(priceGrowthPerDoubling(points), 1);
  close(priceGrowthPerDoubling(powers((x) => x ** 2)), 2);
});
