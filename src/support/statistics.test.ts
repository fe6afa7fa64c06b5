import assert from 'node:assert/strict';
import { test } from 'node:test';
import { median, quantile } from './statistics.js';

test('quantiles are those of definition 7 (NumPy: np.quantile([3, 1, 2, 10], q))', () => {
  const values = [3, 1, 2, 10];
  assert.equal(quantile(values, 0), 1);
  assert.equal(quantile(values, 0.25), 1.75);
  assert.equal(quantile(values, 0.75), 4.75);
  assert.equal(quantile(values, 1), 10);
  assert.deepEqual(values, [3, 1, 2, 10]);
});

test('the median is the middle value, or the mean of the two middle values', () => {
  assert.equal(median([5, 1, 9]), 5);
  assert.equal(median([4, 1, 9, 5]), 4.5);
  assert.equal(median([7]), 7);
});

test('no values and a quantile outside 0–1 are refused', () => {
  assert.throws(() => median([]), /internal:/);
  assert.throws(() => quantile([1], 1.5), /internal:/);
});
