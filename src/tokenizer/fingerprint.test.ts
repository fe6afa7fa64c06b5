import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeFirstDifference } from './fingerprint.js';
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
