import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openTokenizer } from './open.js';

const words = ['<s>', '</s>', '<unk>', 'two', 'plus', '漢'];

test('words are their places in the list, joined by single spaces', () => {
  const tokenizer = openTokenizer({ kind: 'words', words, bosToken: '<s>', eosToken: '</s>' });
  assert.deepEqual(tokenizer.encode(' two\n\tplus two 漢 '), [0, 3, 4, 3, 5]);
  assert.deepEqual(tokenizer.encode('two', { addSpecialTokens: false }), [3]);
  assert.equal(tokenizer.decode([0, 3, 4, 5, 1]), '<s> two plus 漢 </s>');
  assert.equal(tokenizer.decode([0, 3, 4, 5, 1], { skipSpecialTokens: true }), 'two plus 漢');
  assert.deepEqual([...tokenizer.bytesOf(5)], [...Buffer.from('漢')]);
  assert.deepEqual([tokenizer.vocabSize, tokenizer.bosTokenId, tokenizer.eosTokenIds], [6, 0, [1]]);
  assert.deepEqual(tokenizer.encode(''), [0]);
});

test('an unknown word is named, or becomes the unknown token', () => {
  const strict = openTokenizer({ kind: 'words', words });
  assert.throws(() => strict.encode('two minus'), {
    name: 'DataError',
    message: /word 2 of the text, "minus".*6 words/,
  });
  const lenient = openTokenizer({ kind: 'words', words, unknownToken: '<unk>' });
  assert.deepEqual(lenient.encode('two minus'), [3, 2]);
});

test('a bad word list is refused with the place', () => {
  for (const bad of [[], ['a', ''], ['a b'], ['a', 7 as never]]) {
    assert.throws(() => openTokenizer({ kind: 'words', words: bad }), { name: 'ConfigError', message: /^words/ });
  }
  assert.throws(() => openTokenizer({ kind: 'words', words: ['a', 'b', 'a'] }), {
    message: /words\[2\].*already words\[0\]/,
  });
  assert.throws(() => openTokenizer({ kind: 'words', words: ['a'], eosToken: 'b' }), {
    name: 'ConfigError',
    message: /eosToken: "b"/,
  });
});
