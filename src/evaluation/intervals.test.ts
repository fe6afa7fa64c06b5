import assert from 'node:assert/strict';
import { test } from 'node:test';
import { differenceInterval, wilsonInterval } from './intervals.js';

const close = (a: number, b: number, tolerance: number) => assert.ok(Math.abs(a - b) < tolerance, `${a} against ${b}`);

test('the bounds are those of scipy 1.17: binomtest(k, n).proportion_ci(method="wilson")', () => {
  const known = [
    [8, 10, 0.4901624715, 0.9433178485],
    [0, 20, 0, 0.1611251581],
    [20, 20, 0.8388748419, 1],
    [237, 500, 0.4305981141, 0.5177983516],
  ] as const;
  for (const [correct, total, lower, upper] of known) {
    const interval = wilsonInterval(correct, total);
    close(interval.lower, lower, 1e-9);
    close(interval.upper, upper, 1e-9);
  }
});

test('each bound is a proportion at which the measured one lies just 1.96 standard deviations away', () => {
  for (const [correct, total] of [
    [3, 17],
    [50, 61],
    [1, 1000],
  ] as const) {
    for (const bound of Object.values(wilsonInterval(correct, total))) {
      const deviations = Math.abs(correct / total - bound) / Math.sqrt((bound * (1 - bound)) / total);
      close(deviations, 1.959963984540054, 1e-9);
    }
  }
});

test('of nothing measured, nothing is known', () => {
  assert.deepEqual(wilsonInterval(0, 0), { lower: 0, upper: 1 });
});

test('of a difference: the examples of Newcombe 1998, table II', () => {
  const rounded = (first: [number, number], second: [number, number]) => {
    const [a, b] = [first, second].map(([correct, total]) => ({ correct, total }));
    const { lower, upper } = differenceInterval(a, b);
    return [lower.toFixed(4), upper.toFixed(4)];
  };
  assert.deepEqual(rounded([56, 70], [48, 80]), ['0.0524', '0.3339']);
  assert.deepEqual(rounded([9, 10], [3, 10]), ['0.1705', '0.8090']);
  assert.deepEqual(rounded([10, 10], [0, 10]), ['0.6075', '1.0000']);
});
