import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bootstrapRates, percentileInterval, type SeedCell } from './bootstrap.js';

const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const deviation = (values: Float64Array): number => {
  const centre = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / values.length);
};
const cell = (cluster: number, ...counts: [number, number][]): SeedCell => ({
  cluster,
  counts: counts.map(([correct, total]) => ({ correct, total })),
});
const near = (actual: number, expected: number, tolerance: number) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} against ${expected} ± ${tolerance}`);

test('of one cell only its answers vary: mean p and standard deviation sqrt(p (1 − p) / n)', () => {
  const draws = 20_000;
  for (const [correct, total] of [
    [240, 300],
    [23, 300],
    [1, 40],
  ] as const) {
    const rate = correct / total;
    const [rates] = bootstrapRates([cell(1, [correct, total])], { draws });
    const expected = Math.sqrt((rate * (1 - rate)) / total);
    near(mean(rates), rate, (5 * expected) / Math.sqrt(draws)); // five standard errors
    near(deviation(rates) / expected, 1, 0.05);
  }
});

test('among many equal clusters of sure answers the variance is that of the mean of drawn clusters', () => {
  const draws = 20_000;
  const cells = Array.from({ length: 10 }, (_, index) => cell(index, [index < 4 ? 100 : 0, 100]));
  const [rates] = bootstrapRates(cells, { draws });
  near(mean(rates), 0.4, 0.01);
  near(deviation(rates) / Math.sqrt((0.4 * 0.6) / 10), 1, 0.05);
});

test('cells of a cluster are drawn together: what differs between clusters only does not average out over their cells', () => {
  const draws = 20_000;
  const cells = Array.from({ length: 30 }, (_, index) => cell(index % 2, [index % 2 === 0 ? 100 : 0, 100]));
  const [rates] = bootstrapRates(cells, { draws });
  near(deviation(rates) / Math.sqrt((0.5 * 0.5) / 2), 1, 0.05); // of two clusters, whatever the number of cells
});

test('counts of a cell are paired: a constant difference of sure rates has no variance', () => {
  const cells = [cell(1, [100, 100], [0, 100]), cell(2, [100, 100], [0, 100]), cell(3, [0, 100], [0, 100])];
  const [first, second] = bootstrapRates(cells, { draws: 500 });
  assert.ok(deviation(first) > 0.1);
  assert.equal(deviation(second), 0);
  const alike = cells.map(({ cluster, counts }) => ({ cluster, counts: [counts[0], counts[0]] }));
  const [one, other] = bootstrapRates(alike, { draws: 500 });
  assert.deepEqual(one, other);
});

test('the same seed gives the same draws, another seed others; an interval holds the middle 95 %', () => {
  const cells = [cell(1, [10, 30]), cell(2, [20, 30])];
  const [first] = bootstrapRates(cells, { seed: 1 });
  assert.deepEqual(bootstrapRates(cells, { seed: 1 })[0], first);
  assert.notDeepEqual(bootstrapRates(cells, { seed: 2 })[0], first);
  const { lower, upper } = percentileInterval(first);
  near(first.filter((rate) => rate >= lower && rate <= upper).length / first.length, 0.95, 0.02);
});
