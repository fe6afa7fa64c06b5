import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ngramOverlap, rougeL, wordsOf } from './sequence-overlap.js';

const words = (text: string) => text.split(' ');
const letters = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 9 });

/** Every subsequence, longest first. */
const subsequences = (items: readonly string[]): string[] =>
  Array.from({ length: 2 ** items.length }, (_, mask) => items.filter((_item, at) => mask & (1 << at)).join('')).sort(
    (a, b) => b.length - a.length,
  );

describe('ROUGE-L', () => {
  test('of the example of the paper is that of the paper', () => {
    // Lin 2004, section 3.1: S1 against S2 3/4, against S3 1/2.
    assert.equal(rougeL(words('police kill the gunman'), words('police killed the gunman')), 3 / 4);
    assert.equal(rougeL(words('the gunman kill police'), words('police killed the gunman')), 2 / 4);
  });

  test('takes the longest of all common subsequences', () => {
    fc.assert(
      fc.property(letters, letters, (a, b) => {
        const own = new Set(subsequences(a));
        const longest = subsequences(b).find((each) => own.has(each))!.length;
        assert.equal(rougeL(a, b), a.length + b.length === 0 ? 1 : (2 * longest) / (a.length + b.length));
      }),
      { numRuns: 60 },
    );
  });
});

describe('overlap of n-grams', () => {
  test('counts an n-gram as often as both have it', () => {
    const pairs = [
      { candidate: words('a a b'), reference: words('a b b') },
      { candidate: words('c'), reference: words('c d') },
    ];
    assert.equal(ngramOverlap(pairs, 1), (2 * 3) / (3 + 3 + 1 + 2));
    assert.equal(ngramOverlap(pairs, 2), (2 * 1) / (2 + 2 + 0 + 1));
    assert.equal(ngramOverlap(pairs, 4), null);
  });

  test('is 1 for equal texts alone, and does not know which is which', () => {
    fc.assert(
      fc.property(letters, letters, (candidate, reference) => {
        const there = ngramOverlap([{ candidate, reference }], 1);
        assert.equal(there, ngramOverlap([{ candidate: reference, reference: candidate }], 1));
        if (there !== null) assert.equal(there === 1, [...candidate].sort().join() === [...reference].sort().join());
      }),
    );
  });
});

test('words are lower case, without what stands between them', () => {
  assert.deepEqual(wordsOf('At Dock, red-line → to FORGE 12.5!'), [
    'at',
    'dock',
    'red',
    'line',
    'to',
    'forge',
    '12',
    '5',
  ]);
});
