import assert from 'node:assert/strict';
import { test } from 'node:test';
import { moreOrFewer } from './words.js';

test('a gap below zero is told as fewer, with its bounds turned too', () => {
  assert.match(moreOrFewer({ value: 0.21, lower: 0.16, upper: 0.27, numPairs: 3 }), /^21.points \(16 to 27\) more$/);
  assert.match(
    moreOrFewer({ value: -0.21, lower: -0.27, upper: -0.16, numPairs: 3 }),
    /^21.points \(16 to 27\) fewer$/,
  );
});
