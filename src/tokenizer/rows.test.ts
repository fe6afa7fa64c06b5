import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DataError } from '../support/errors.js';
import { openTokenizer } from './open.js';
import { encodeRow } from './rows.js';

const tokenizer = openTokenizer({ kind: 'words', words: ['one', 'two', 'three', '<eos>'], eosToken: '<eos>' });
const options = { tokenizer, vocabSize: 4, where: 'rows.jsonl:7' };

describe('rows', () => {
  test('ids stay as they are; without responseStart every token is response', () => {
    assert.deepEqual(encodeRow({ id: 'a', tokens: [1, 2] }, options), { id: 'a', tokens: [1, 2], responseStart: 0 });
    assert.deepEqual(encodeRow({ id: 5, tokens: [1, 2], responseStart: 1, note: 'kept out' }, options), {
      id: 5,
      tokens: [1, 2],
      responseStart: 1,
    });
  });

  test('a trace is its prompt and its response', () => {
    const row = { id: 'a', promptTokens: [0], tokens: [1, 3], text: 'two', finish: 'stop' };
    assert.deepEqual(encodeRow(row, options), { id: 'a', tokens: [0, 1, 3], responseStart: 1 });
  });

  test('text goes through the tokenizer, and its end is marked', () => {
    assert.deepEqual(encodeRow({ id: 'a', prompt: 'one', response: 'two' }, options), {
      id: 'a',
      tokens: [0, 1, 3],
      responseStart: 1,
    });
  });

  const wrong: [string, unknown, RegExp][] = [
    ['no object', [1], /must be an object/],
    ['no id', { tokens: [1] }, /no "id"/],
    ['nothing to encode', { id: 1 }, /none of "tokens", "prompt" and "messages"/],
    [
      'an id outside the vocabulary',
      { id: 1, tokens: [1, 4] },
      /"tokens"\[1\] is 4; token ids of this model are 0 to 3/,
    ],
    ['a token that is no number', { id: 1, tokens: ['one'] }, /"tokens"\[0\] is "one"/],
    ['a response that starts past the end', { id: 1, tokens: [1], responseStart: 2 }, /"responseStart" is 2/],
    ['a word of another vocabulary', { id: 1, prompt: 'four' }, /four/],
  ];
  for (const [name, row, message] of wrong) {
    test(`${name} is refused with file and line`, () => {
      assert.throws(
        () => encodeRow(row, options),
        (error) =>
          error instanceof DataError && error.message.startsWith('rows.jsonl:7: ') && message.test(error.message),
      );
    });
  }

  test('text without a tokenizer is refused', () => {
    assert.throws(() => encodeRow({ id: 1, prompt: 'one' }, { vocabSize: 4, where: 'f:1' }), /no tokenizer/);
  });
});
