import assert from 'node:assert/strict';
import { test } from 'node:test';
import { didYouMean, nearestWord } from './suggest.js';

const flags = ['max-tokens', 'temperature', 'top-k', 'top-p', 'seed'];

test('one slip of the fingers finds the word: a letter too many, too few, another, or two swapped', () => {
  for (const slip of ['temperatures', 'tempeature', 'temperadure', 'tepmerature', 'Temperature']) {
    assert.equal(nearestWord(slip, flags), 'temperature');
  }
});

test('a swap of neighbours is one edit, so that a short word is still found', () => {
  assert.equal(nearestWord('no', ['on']), 'on');
  assert.equal(nearestWord('ab', ['cd']), undefined);
});

test('the nearest wins, and a word far from all has no suggestion', () => {
  assert.equal(nearestWord('max-token', flags), 'max-tokens');
  assert.equal(nearestWord('colour', flags), undefined);
  assert.equal(nearestWord('x', []), undefined);
  assert.equal(didYouMean('sede', flags), ' Did you mean "seed"?');
  assert.equal(didYouMean('colour', flags), '');
});
