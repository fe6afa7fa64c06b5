import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createStopMatcher } from './stop-matcher.js';

// Two letters make overlaps and false starts frequent.
const word = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 4 });
const pieces = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 5 }), { maxLength: 12 });

/** The shortest beginning of the text that ends in a stop string, found by trying them all. */
function expected(text: string, stops: readonly string[]): { text: string; stoppedBy: string | undefined } {
  for (let end = 1; end <= text.length; end++) {
    const found = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)[0];
    if (found !== undefined) return { text: text.slice(0, end - found.length), stoppedBy: found };
  }
  return { text, stoppedBy: undefined };
}

test('the text is cut at the first stop string to be completed, however it arrives', () => {
  fc.assert(
    fc.property(fc.array(word, { maxLength: 3 }), pieces, (stops, parts) => {
      const matcher = createStopMatcher(stops);
      const text = parts.map((part) => matcher.push(part)).join('') + matcher.flush();
      assert.deepEqual({ text, stoppedBy: matcher.stoppedBy }, expected(parts.join(''), stops));
    }),
    { numRuns: 1000 },
  );
});

test('no more is withheld than could begin a stop string', () => {
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 3 }), pieces, (stops, parts) => {
      const matcher = createStopMatcher(stops);
      let seen = '';
      let given = '';
      for (const part of parts) {
        seen += part;
        given += matcher.push(part);
        if (matcher.stoppedBy !== undefined) return;
        const held = seen.slice(given.length);
        assert.ok(held === '' || stops.some((stop) => stop !== held && stop.startsWith(held)), JSON.stringify(held));
      }
    }),
    { numRuns: 500 },
  );
});

test('after a match nothing more comes', () => {
  const matcher = createStopMatcher(['\nQ:']);
  assert.equal(matcher.push('4\n'), '4');
  assert.equal(matcher.push('Q: what'), '');
  assert.equal(matcher.stoppedBy, '\nQ:');
  assert.equal(matcher.push('more') + matcher.flush(), '');
});

test('an empty stop string is refused', () => {
  assert.throws(() => createStopMatcher(['a', '']), { name: 'ConfigError' });
});
