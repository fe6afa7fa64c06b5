import assert from 'node:assert/strict';
import { test } from 'node:test';
import { moreOrFewer, regainedText } from './words.js';

test('a gap below zero is told as fewer, with its bounds turned too', () => {
  assert.match(moreOrFewer({ value: 0.21, lower: 0.16, upper: 0.27, numPairs: 3 }), /^21.points \(16 to 27\) more$/);
  assert.match(
    moreOrFewer({ value: -0.21, lower: -0.27, upper: -0.16, numPairs: 3 }),
    /^21.points \(16 to 27\) fewer$/,
  );
});

test('what a student regains lies between nothing and all', () => {
  assert.deepEqual([-0.1, 0, 0.5, 1, 1.4].map(regainedText), [
    'regaining nothing',
    'regaining nothing',
    'regaining 50 %',
    'regaining all',
    'regaining all',
  ]);
});
