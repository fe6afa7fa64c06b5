import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gguf } from '@huggingface/gguf';
import fc from 'fast-check';
import { sharedPath } from '../support/shared-data.fixture.js';
import { ggufTokenizerFiles } from './gguf.js';
import { openTokenizer } from './open.js';
import { readGolden, rustLibrary, smallTokenizer, smallTokenizers } from './tokenizer.fixture.js';

const modelPath = sharedPath('models/SmolLM2-135M-Instruct.Q4_1.gguf');
test("SmolLM2's vocabulary: ids are llama.cpp's under every name of a pre-tokenizer", {
  skip: modelPath === undefined && 'needs ../shared/models',
}, async () => {
  const file = await gguf(modelPath!, { allowLocalFile: true });
  const metadata: Record<string, unknown> = { ...file.metadata };
  const golden = readGolden<Record<string, [text: string, ids: number[]][]>>('smollm2-gguf.json');
  assert.deepEqual(Object.keys(golden), ['smollm', 'default', 'gpt-2', 'llama-bpe', 'qwen2']);
  for (const [name, cases] of Object.entries(golden)) {
    const tokenizer = openTokenizer({ kind: 'gguf', metadata: { ...metadata, 'tokenizer.ggml.pre': name } });
    let numCompared = 0;
    for (const [text, ids] of cases) {
      // Qwen composes characters first, which llama.cpp leaves out.
      if (name === 'qwen2' && text !== text.normalize('NFC')) continue;
      numCompared++;
      assert.deepEqual(tokenizer.encode(text), ids, `${name}: ${JSON.stringify(text)}`);
      assert.equal(tokenizer.decode(ids), text);
    }
    assert.ok(numCompared > 50);
  }
  const tokenizer = openTokenizer({ kind: 'gguf', metadata });
  assert.deepEqual(
    [tokenizer.bosTokenId, tokenizer.eosTokenIds, tokenizer.padTokenId, tokenizer.vocabSize],
    [1, [2, 0], 2, 49152],
  );
  assert.match(tokenizer.chatTemplate!, /You are a helpful AI assistant named SmolLM/);
});

type Metadata = Record<string, unknown>;

/** The metadata a converter to GGUF would write for a small tokenizer. */
function metadataOf(name: string, extra: Metadata = {}): Metadata {
  const tokenizer = smallTokenizer(name);
  const { merges } = smallTokenizers[name].tokenizer.model as { merges: string[][] };
  const tokens = Array.from({ length: tokenizer.vocabSize }, (_, id) => tokenizer.tokenOf(id)!);
  const types = tokens.map((token, id) =>
    tokenizer.isSpecial(id) ? 3 : token === '<think>' ? 4 : token.startsWith('<0x') ? 6 : 1,
  );
  return {
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': types,
    'tokenizer.ggml.merges': merges.map((merge) => merge.join(' ')),
    'tokenizer.ggml.bos_token_id': 1,
    'tokenizer.ggml.eos_token_id': 2,
    ...extra,
  };
}

const open = (metadata: Metadata) => openTokenizer({ kind: 'gguf', metadata });

for (const [name, pre] of [
  ['smollm', 'smollm'],
  ['llama3', 'llama-bpe'],
] as const) {
  test(`pre-tokenizer ${pre}: ids are those of the tokenizer it was made from`, () => {
    const tokenizer = open(metadataOf(name, { 'tokenizer.ggml.pre': pre }));
    for (const [text, ids] of smallTokenizers[name].cases) {
      // GGUF does not say that <mask> takes the spaces before it.
      if (!/\s<mask>/.test(text)) assert.deepEqual(tokenizer.encode(text), ids, JSON.stringify(text));
    }
  });
}

test("Qwen's pre-tokenizer cuts single digits and composes characters", () => {
  for (const pre of ['qwen2', 'deepseek-r1-qwen']) {
    const tokenizer = open(metadataOf('llama3', { 'tokenizer.ggml.pre': pre }));
    assert.equal(tokenizer.encode('123').length, 3);
    assert.deepEqual(tokenizer.encode('e\u0301'), tokenizer.encode('é'));
  }
});

// Scores of a SentencePiece BPE model are minus the rank of the merge that makes the piece.
const ranks = new Map(
  (smallTokenizers['llama-legacy'].tokenizer.model as { merges: string[][] }).merges.map((merge, rank) => [
    merge.join(''),
    rank,
  ]),
);
const sentencePiece = (extra: Metadata = {}): Metadata => {
  const metadata = metadataOf('llama-legacy', {
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.unknown_token_id': 0,
    ...extra,
  });
  const tokens = metadata['tokenizer.ggml.tokens'] as string[];
  return { ...metadata, 'tokenizer.ggml.scores': Float32Array.from(tokens, (token) => -(ranks.get(token) ?? 1000)) };
};

/** SentencePiece as published: join the best-scoring neighbours, the leftmost of equals, until none is a piece. */
function joinByScore(text: string, scoreOf: (piece: string) => number | undefined): string[] {
  const pieces = [...text];
  for (;;) {
    let best: { index: number; score: number } | undefined;
    for (let index = 0; index + 1 < pieces.length; index++) {
      const score = scoreOf(pieces[index] + pieces[index + 1]);
      if (score !== undefined && (best === undefined || score > best.score)) best = { index, score };
    }
    if (best === undefined) return pieces;
    pieces.splice(best.index, 2, pieces[best.index] + pieces[best.index + 1]);
  }
}

test('SentencePiece: pieces are joined by score, unknown characters become bytes', () => {
  const tokenizer = open(sentencePiece());
  const scoreOf = (piece: string) => (ranks.has(piece) ? -ranks.get(piece)! : undefined);
  const words = fc.constantFrom(
    'the ',
    'One day',
    ' ',
    '  ',
    'was',
    ' happy',
    'h',
    'e',
    'n',
    '漢',
    'é',
    '👍🏽',
    '\n',
    'ing',
    '.',
  );
  fc.assert(
    fc.property(fc.array(words, { minLength: 1, maxLength: 15 }), (parts) => {
      const text = parts.join('');
      const expected = joinByScore(`▁${text.replaceAll(' ', '▁')}`, scoreOf).flatMap((piece) => {
        const id = tokenizer.idOf(piece);
        const bytes = [...Buffer.from(piece)].map((byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
        return id === undefined ? bytes.map((name) => tokenizer.idOf(name)!) : [id];
      });
      assert.deepEqual(tokenizer.encode(text), [1, ...expected], JSON.stringify(text));
      assert.equal(tokenizer.decode(expected), text);
    }),
    { numRuns: 300 },
  );
});

test('bos and the space before the text follow the file', () => {
  const plain = open(
    sentencePiece({ 'tokenizer.ggml.add_bos_token': false, 'tokenizer.ggml.add_space_prefix': false }),
  );
  assert.deepEqual(
    plain.encode('n').map((id) => plain.tokenOf(id)),
    ['n'],
  );
  assert.equal(plain.decode(plain.encode(' n')), ' n');
  const closing = open(
    metadataOf('smollm', { 'tokenizer.ggml.add_bos_token': true, 'tokenizer.ggml.add_eos_token': true }),
  );
  assert.deepEqual([closing.encode('a')[0], closing.encode('a').at(-1)], [1, 2]);
});

test('rows that only pad the vocabulary name no token', () => {
  const metadata = metadataOf('smollm');
  const tokens = [...(metadata['tokenizer.ggml.tokens'] as string[]), '[PAD0]', '[PAD1]'];
  const types = [...(metadata['tokenizer.ggml.token_type'] as number[]), 5, 5];
  const tokenizer = open({ ...metadata, 'tokenizer.ggml.tokens': tokens, 'tokenizer.ggml.token_type': types });
  assert.equal(tokenizer.vocabSize, tokens.length - 2);
  assert.equal(tokenizer.tokenOf(tokens.length - 1), undefined);
});

const broken: Record<string, [change: Metadata, message: RegExp]> = {
  'no tokens': [{ 'tokenizer.ggml.tokens': undefined }, /tokenizer\.ggml\.tokens: expected an array/],
  'token no text': [{ 'tokenizer.ggml.tokens': [7] }, /tokens\[0\]: expected a string/],
  'token twice': [{ 'tokenizer.ggml.tokens': ['a', 'a'], 'tokenizer.ggml.token_type': [1, 1] }, /both id 0 and id 1/],
  'types of another length': [{ 'tokenizer.ggml.token_type': [1] }, /token_type: expected 7\d\d entries/],
  'unknown model': [{ 'tokenizer.ggml.model': 't5' }, /expected gpt2 or llama, got "t5"/],
  'unknown pre-tokenizer': [
    { 'tokenizer.ggml.pre': 'constructor' },
    /tokenizer\.ggml\.pre: expected default, .*got "constructor"/,
  ],
  'no merges': [{ 'tokenizer.ggml.merges': undefined }, /merges/],
  'bos outside': [{ 'tokenizer.ggml.bos_token_id': 4_000_000_000 }, /bos_token_id: expected a token id/],
  'eos negative': [{ 'tokenizer.ggml.eos_token_id': -1n }, /eos_token_id/],
  'no scores': [{ 'tokenizer.ggml.model': 'llama' }, /scores/],
  'score no number': [{ 'tokenizer.ggml.model': 'llama', 'tokenizer.ggml.scores': ['a'] }, /scores\[0\]/],
  'template no text': [{ 'tokenizer.chat_template': 7 }, /chat_template/],
};

for (const [name, [change, message]] of Object.entries(broken)) {
  test(`refused with its key: ${name}`, () => {
    assert.throws(() => open(metadataOf('smollm', change)), { name: 'ModelLoadError', message });
  });
}

test('written as a Hugging Face tokenizer it gives the same ids, here and in the Rust library', {
  skip: modelPath === undefined && 'needs ../shared/models',
}, async () => {
  const file = await gguf(modelPath!, { allowLocalFile: true });
  const metadata: Record<string, unknown> = { ...file.metadata };
  const original = openTokenizer({ kind: 'gguf', metadata });
  const files = ggufTokenizerFiles(metadata);
  const written = openTokenizer({
    kind: 'hugging-face',
    tokenizerJson: JSON.parse(files['tokenizer.json']),
    tokenizerConfig: JSON.parse(files['tokenizer_config.json']),
  });
  const rust = rustLibrary()?.Tokenizer.fromString(files['tokenizer.json']);
  const golden = readGolden<Record<string, [text: string, ids: number[]][]>>('smollm2-gguf.json');
  for (const [text] of golden.smollm) {
    const ids = original.encode(text);
    assert.deepEqual(written.encode(text), ids);
    if (rust) assert.deepEqual((await rust.encode(text, null, { addSpecialTokens: true })).getIds(), ids);
  }
  assert.equal(written.chatTemplate, original.chatTemplate);
  assert.deepEqual([written.bosTokenId, written.eosTokenIds[0]], [original.bosTokenId, original.eosTokenIds[0]]);
});
