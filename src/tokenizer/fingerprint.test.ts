import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { compareOrdinaryTokens, describeFirstDifference } from './fingerprint.js';
import { openTokenizer } from './open.js';
import { smallTokenizers } from './tokenizer.fixture.js';
import type { Tokenizer } from './types.js';

type File = Record<string, unknown> & {
  model: Record<string, unknown> & { vocab: Record<string, number>; merges: unknown[] };
};

function opened(name: string, change: (file: File) => void = () => {}): Tokenizer {
  const file = structuredClone(smallTokenizers[name].tokenizer) as File;
  change(file);
  return openTokenizer({ kind: 'hugging-face', tokenizerJson: file });
}

test('the order of keys and the form of merges change nothing', () => {
  const shuffled = opened('llama3', (file) => {
    file.model.vocab = Object.fromEntries(Object.entries(file.model.vocab).reverse());
    file.model.merges = file.model.merges.map((merge) => (Array.isArray(merge) ? merge.join(' ') : merge));
    file.truncation = { max_length: 512 };
  });
  assert.equal(shuffled.fingerprint, opened('llama3').fingerprint);
  assert.equal(describeFirstDifference(shuffled, opened('llama3')), undefined);
  assert.match(shuffled.fingerprint, /^[0-9a-f]{64}$/);
});

const changes: Record<string, [change: (file: File) => void, said: RegExp]> = {
  'order of merges': [(file) => file.model.merges.reverse(), /same tokens but cut or join/],
  'merges ignored': [(file) => (file.model.ignore_merges = false), /same tokens/],
  normaliser: [(file) => (file.normalizer = { type: 'NFC' }), /same tokens/],
  'pre-tokenizer': [(file) => (file.pre_tokenizer = { type: 'ByteLevel', add_prefix_space: false }), /same tokens/],
  'special tokens added': [(file) => (file.post_processor = null), /same tokens/],
  'special flag': [
    (file) => ((file.added_tokens as { special: boolean }[])[2].special = false),
    /id 2 is the special token "<\/s>" in .* and "<\/s>" \(bytes 3c2f733e\)/,
  ],
  'another token': [
    (file) => (file.model.vocab.extra = 704),
    /id 704 is no token in the first tokenizer and "extra".* in the second/,
  ],
};

for (const [name, [change, said]] of Object.entries(changes)) {
  test(`the fingerprint sees: ${name}`, () => {
    const [plain, changed] = [opened('llama3'), opened('llama3', change)];
    assert.notEqual(changed.fingerprint, plain.fingerprint);
    assert.match(describeFirstDifference(plain, changed)!, said);
  });
}

test('the first id that differs is named, with the names given', () => {
  const [a, b] = [
    ['x', 'y', 'z'],
    ['x', 'w', 'q'],
  ].map((words) => openTokenizer({ kind: 'words', words }));
  assert.match(
    describeFirstDifference(a, b, ['the teacher', 'the student'])!,
    /^id 1 is "y" .* in the teacher and "w" .* in the student$/,
  );
});

type Added = { id: number; content: string; special: boolean };
const addedOf = (file: File) => file.added_tokens as Added[];

describe('tokenizers compared but for added tokens', () => {
  const names = ['the teacher', 'the proxy'] as const;
  const rename = (file: File, id: number, content: string) => {
    const token = addedOf(file).find((each) => each.id === id)!;
    const { vocab } = file.model;
    if (token.content in vocab) {
      delete vocab[token.content];
      vocab[content] = id;
    }
    token.content = content;
  };
  const alike: Record<string, [change: (file: File) => void, unsharedIds: number[]]> = {
    nothing: [() => {}, []],
    'other names': [
      (file) => {
        rename(file, 2, '<|end|>');
        rename(file, 1, '<|begin|>');
      },
      [1, 2],
    ],
    'another token at the end': [
      (file) => addedOf(file).push({ ...addedOf(file)[0], id: 710, content: '<|new|>', special: false }),
      [710],
    ],
    'the special flag': [(file) => (addedOf(file)[2].special = false), []],
    'what is put around a text': [(file) => (file.post_processor = null), []],
  };
  for (const [name, [change, unsharedIds]] of Object.entries(alike)) {
    test(`they may differ in: ${name}`, () => {
      const [plain, changed] = [opened('llama3'), opened('llama3', change)];
      assert.deepEqual(compareOrdinaryTokens(plain, changed, names), { unsharedIds });
      assert.deepEqual(compareOrdinaryTokens(changed, plain, names), { unsharedIds });
    });
  }

  const apart: Record<string, [change: (file: File) => void, said: RegExp]> = {
    'another ordinary token': [
      (file) => {
        rename(file, 2, '<|end|>');
        file.model.vocab.extra = 704;
      },
      /^id 704 is no token in the teacher and "extra"/,
    ],
    'an added token in the place of an ordinary one': [
      (file) => {
        const [token, id] = Object.entries(file.model.vocab).find(([, each]) => each === 300)!;
        delete file.model.vocab[token];
        file.model.merges = file.model.merges.filter(
          (merge) => ![merge].flat().join('').replace(' ', '').includes(token),
        );
        addedOf(file).push({ ...addedOf(file)[0], id, content: '<|in its place|>' });
      },
      /^id 300 is .* in the teacher and the special token "<\|in its place\|>" in the proxy$/,
    ],
    'order of merges': [(file) => file.model.merges.reverse(), /same tokens but cut or join/],
    normaliser: [(file) => (file.normalizer = { type: 'NFC' }), /same tokens but cut or join/],
  };
  for (const [name, [change, said]] of Object.entries(apart)) {
    test(`they may not differ in: ${name}`, () => {
      const compared = compareOrdinaryTokens(opened('llama3'), opened('llama3', change), names);
      assert.match((compared as { difference: string }).difference, said);
    });
  }
});
