import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as format from './format.js';

const plain = (text: string) => text.replace(/\u202f|\u00a0/g, ' ').replace(/\u2212/g, '-');

test('rates are told in per cent to a tenth, intervals beside them', () => {
  const told = [0, 1, 0.0767, 0.1, 0.9996, 1 / 3, -0.0001].map((rate) => plain(format.percent(rate)));
  assert.deepEqual(told, ['0 %', '100 %', '7.7 %', '10 %', '100 %', '33.3 %', '0 %']);
  assert.equal(plain(format.percentWithInterval(0.08, { lower: 0.061, upper: 0.1 })), '8 % (6.1–10)');
});

test('differences are points: tenths below ten, whole above, one in the singular', () => {
  const told = [0.7, 0.0123, 0.01, -0.01, -0.256, 0.0996, 0].map((value) => plain(format.points(value)));
  assert.deepEqual(told, ['70 points', '1.2 points', '1 point', '-1 point', '-26 points', '10 points', '0 points']);
});

test('numbers have so many significant digits and no trailing zeros', () => {
  const told = [0, 1.2735, 0.98, 12, 12345.6, 1234.5, 1.5e-7, -0.25, 2e9, Number.NaN].map((value) =>
    plain(format.formatNumber(value)),
  );
  assert.deepEqual(told, ['0', '1.27', '0.98', '12', '12 346', '1235', '1.5e-7', '-0.25', '2e9', '–']);
  assert.equal(format.formatNumber(0.0001 * 6), '6e-4');
});

test('times are told in the units a person would use', () => {
  const told = [400, 12_300, 59_600, 200_000, 180_000, 7_500_000].map((ms) => plain(format.formatDuration(ms)));
  assert.deepEqual(told, ['0.4 s', '12 s', '1 min', '3 min 20 s', '3 min', '2 h 05 min']);
});

test('counts and lists agree with what they count', () => {
  assert.deepEqual([format.countOf(1, 'teacher'), format.countOf(3, 'seed')], ['1 teacher', '3 seeds']);
  assert.deepEqual([[], ['a'], ['a', 'b'], ['a', 'b', 'c']].map(format.listOf), ['', 'a', 'a and b', 'a, b and c']);
});
