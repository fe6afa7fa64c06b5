import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DataError, ModelLoadError } from '../support/errors.js';
import { openTokenizer } from './open.js';
import { smallTokenizer, smallTokenizers } from './tokenizer.fixture.js';

for (const [name, golden] of Object.entries(smallTokenizers)) {
  test(`${name}: ids and texts are those of the Rust library`, () => {
    const tokenizer = smallTokenizer(name);
    for (const [text, ids, decoded, decodedWithoutSpecials] of golden.cases) {
      assert.deepEqual(tokenizer.encode(text), ids, JSON.stringify(text));
      assert.equal(tokenizer.decode(ids), decoded);
      assert.equal(tokenizer.decode(ids, { skipSpecialTokens: true }), decodedWithoutSpecials);
    }
  });

  test(`${name}: random ids decode as in the Rust library`, () => {
    const tokenizer = smallTokenizer(name);
    // A run of byte tokens that is no UTF-8 is U+FFFD once per byte there, and by WHATWG's rule here.
    const comparable = golden.noise.filter(([ids, decoded]) => {
      return !decoded.includes('\ufffd') || !ids.some((id) => tokenizer.tokenOf(id)?.startsWith('<0x'));
    });
    assert.ok(comparable.length >= 20);
    for (const [ids, decoded] of comparable) assert.equal(tokenizer.decode(ids), decoded, JSON.stringify(ids));
  });
}

test('encoding without special tokens leaves out bos only', () => {
  const tokenizer = smallTokenizer('llama3');
  const ids = tokenizer.encode('One day');
  assert.equal(ids[0], tokenizer.bosTokenId);
  assert.deepEqual(tokenizer.encode('One day', { addSpecialTokens: false }), ids.slice(1));
  assert.deepEqual(tokenizer.encode(''), [tokenizer.bosTokenId]);
});

test('special tokens have no bytes, byte tokens one', () => {
  const tokenizer = smallTokenizer('llama-legacy');
  assert.equal(tokenizer.bytesOf(tokenizer.idOf('</s>')!).length, 0);
  assert.deepEqual([...tokenizer.bytesOf(tokenizer.idOf('<0xE2>')!)], [0xe2]);
  assert.deepEqual([...tokenizer.bytesOf(tokenizer.idOf('<think>')!)], [...Buffer.from('<think>')]);
  assert.deepEqual([...tokenizer.bytesOf(tokenizer.idOf('▁')!)], [0x20]);
});

test('an id that names no token is refused with the range', () => {
  const tokenizer = smallTokenizer('smollm');
  for (const id of [-1, 1.5, tokenizer.vocabSize, Number.NaN]) {
    assert.equal(tokenizer.tokenOf(id), undefined);
    assert.throws(() => tokenizer.bytesOf(id), DataError);
    assert.throws(() => tokenizer.decode([id]), {
      name: 'DataError',
      message: new RegExp(`0 to ${tokenizer.vocabSize - 1}`),
    });
  }
});

test('further eos ids come from generation_config, rows without a token left out', () => {
  const tokenizer = openTokenizer({
    kind: 'hugging-face',
    tokenizerJson: smallTokenizers.llama3.tokenizer,
    tokenizerConfig: { eos_token: { content: '</s>' }, pad_token: null },
    generationConfig: { eos_token_id: [1, 2, 900_000], bos_token_id: 1, pad_token_id: 0 },
  });
  assert.deepEqual(tokenizer.eosTokenIds, [2, 1]);
  assert.equal(tokenizer.bosTokenId, 1);
  assert.equal(tokenizer.padTokenId, undefined);
});

test('chat_template.jinja wins over the configuration, of which the default of several counts', () => {
  const open = (chat_template: unknown, chatTemplate?: string) =>
    openTokenizer({
      kind: 'hugging-face',
      tokenizerJson: smallTokenizers.words.tokenizer,
      tokenizerConfig: { chat_template },
      ...(chatTemplate === undefined ? {} : { chatTemplate }),
    }).chatTemplate;
  assert.equal(open('a'), 'a');
  assert.equal(open('a', 'b'), 'b');
  assert.equal(
    open([
      { name: 'tool_use', template: 't' },
      { name: 'default', template: 'd' },
    ]),
    'd',
  );
  assert.equal(open(undefined), undefined);
  assert.throws(() => open(7), ModelLoadError);
});

type Broken = Record<string, unknown> & { model: Record<string, unknown> };
const bpe = (): Broken => ({
  added_tokens: [],
  model: { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges: ['a b'] },
  decoder: { type: 'ByteLevel' },
});

const hostile: Record<string, [change: (file: Broken) => unknown, message: RegExp]> = {
  'no object': [() => [], /tokenizer\.json: expected an object, got an array/],
  'no model': [() => ({}), /model: expected an object, got nothing/],
  'vocabulary as a list': [(f) => (f.model.vocab = ['a']), /model\.vocab: expected an object/],
  'empty vocabulary': [(f) => (f.model.vocab = {}), /empty/],
  'negative id': [(f) => (f.model.vocab = { a: -1 }), /model\.vocab\["a"\].*got -1/],
  'fractional id': [(f) => (f.model.vocab = { a: 0.5 }), /got 0\.5/],
  'absurd id': [(f) => (f.model.vocab = { a: 0, b: 4_294_967_294 }), /got 4294967294/],
  'absurd id of an added token': [
    (f) => (f.added_tokens = [{ id: 2 ** 40, content: 'x' }]),
    /added_tokens.*1099511627776/,
  ],
  'an id used twice': [(f) => (f.model.vocab = { a: 0, b: 0 }), /already names "a"/],
  'two ids for one token': [(f) => (f.added_tokens = [{ id: 7, content: 'a' }]), /has id 0 .* id 7/],
  'merge of an unknown token': [(f) => (f.model.merges = ['a c']), /model\.merges\[0\].*"c" is not in the vocabulary/],
  'merge into an unknown token': [(f) => (f.model.merges = [['b', 'a']]), /"ba" is not in the vocabulary/],
  'merge of three': [(f) => (f.model.merges = ['a b c']), /two tokens/],
  'merges as an object': [(f) => (f.model.merges = {}), /model\.merges: expected an array/],
  'no merges': [(f) => delete f.model.merges, /model\.merges: expected an array, got nothing/],
  'unknown model': [(f) => (f.model.type = 'Unigram'), /model\.type: expected BPE or WordLevel, got "Unigram"/],
  'unknown unknown token': [(f) => (f.model.unk_token = 'zz'), /unk_token/],
  'unknown normaliser': [(f) => (f.normalizer = { type: 'Precompiled' }), /normalizer\.type/],
  'unknown pre-tokenizer': [(f) => (f.pre_tokenizer = { type: 'Nope' }), /pre_tokenizer\.type/],
  'nested wrong type': [(f) => (f.pre_tokenizer = { type: 'Sequence', pretokenizers: [7] }), /pretokenizers\[0\]/],
  'bad regular expression': [(f) => (f.pre_tokenizer = split('(')), /tokenizer\.json: /],
  'split that drops text': [(f) => (f.pre_tokenizer = { ...split('a'), behavior: 'Removed' }), /behavior/],
  'unknown decoder': [(f) => (f.decoder = { type: 'CTC' }), /decoder/],
  'template id without a token': [(f) => (f.post_processor = template(9)), /id 9 names no token/],
  'template id absurd': [(f) => (f.post_processor = template(2 ** 50)), /post_processor/],
  'template without the text': [
    (f) => (f.post_processor = { type: 'TemplateProcessing', single: [] }),
    /post_processor/,
  ],
  'added tokens as an object': [(f) => (f.added_tokens = {}), /added_tokens: expected an array/],
  'added token without text': [(f) => (f.added_tokens = [{ id: 3, content: '' }]), /added_tokens\[0\]\.content/],
};

function split(regex: string): object {
  return { type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false };
}

function template(id: number): object {
  const single = [{ SpecialToken: { id: 'a', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }];
  return { type: 'TemplateProcessing', single, special_tokens: { a: { id: 'a', ids: [id], tokens: ['a'] } } };
}

test('a small file is read', () => {
  const tokenizer = openTokenizer({ kind: 'hugging-face', tokenizerJson: bpe() });
  assert.deepEqual(tokenizer.encode('abba'), [2, 1, 0]);
});

for (const [name, [change, message]] of Object.entries(hostile)) {
  test(`refused with its place: ${name}`, () => {
    const file = bpe();
    const result = change(file);
    const tokenizerJson = name.startsWith('no ') && name !== 'no merges' ? result : file;
    const before = process.memoryUsage().rss;
    assert.throws(() => openTokenizer({ kind: 'hugging-face', tokenizerJson }), { name: 'ModelLoadError', message });
    assert.ok(process.memoryUsage().rss - before < 256e6);
  });
}

test('a file with anything in place of anything either opens or is refused', () => {
  const junk = fc.oneof(
    fc.jsonValue(),
    fc.integer(),
    fc.double(),
    fc.constantFrom(null, -1, 2 ** 53, '', [], {}, [[]], ['a a'], { type: 'Sequence' }),
  );
  const names = Object.keys(smallTokenizers);
  let numRefused = 0;
  const property = (name: string, depths: number[], value: unknown) => {
    const file = structuredClone(smallTokenizers[name].tokenizer);
    // Large tables first lose most of their entries, or every walk would end in one of them.
    const model = file.model as Record<string, unknown>;
    if (Array.isArray(model.merges)) model.merges = model.merges.slice(0, 3);
    let place: Record<string, unknown> = file;
    for (const [index, depth] of depths.entries()) {
      const keys = Object.keys(place);
      const key = keys[depth % Math.max(1, keys.length)];
      const next = place[key];
      if (key === undefined || index === depths.length - 1 || typeof next !== 'object' || next === null) {
        place[key ?? 'key'] = value;
        break;
      }
      place = next as Record<string, unknown>;
    }
    try {
      const ids = openTokenizer({ kind: 'hugging-face', tokenizerJson: file }).encode('One day, a 12');
      assert.ok(ids.every(Number.isInteger));
    } catch (error) {
      assert.ok(error instanceof ModelLoadError || error instanceof DataError, String((error as Error).stack));
      numRefused++;
    }
  };
  const walk = fc.array(fc.nat(40), { minLength: 1, maxLength: 5 });
  fc.assert(fc.property(fc.constantFrom(...names), walk, junk, property), { numRuns: 1500 });
  assert.ok(numRefused > 100);
});

test('a file nested without end is refused', () => {
  let rule: object = { type: 'NFC' };
  for (let depth = 0; depth < 50_000; depth++) rule = { type: 'Sequence', normalizers: [rule] };
  const tokenizerJson = { ...bpe(), normalizer: rule };
  assert.throws(() => openTokenizer({ kind: 'hugging-face', tokenizerJson }), {
    name: 'ModelLoadError',
    message: /nested/,
  });
});

test('a role given to a token outside the vocabulary is refused', () => {
  assert.throws(() => smallTokenizer('words', { eos_token: '<nowhere>' }), {
    name: 'ModelLoadError',
    message: /eos_token/,
  });
});

test('a word model without an unknown token refuses unknown words', () => {
  const file = {
    model: { type: 'WordLevel', vocab: { a: 0 }, unk_token: '<unk>' },
    pre_tokenizer: { type: 'WhitespaceSplit' },
  };
  const tokenizer = openTokenizer({ kind: 'hugging-face', tokenizerJson: file });
  assert.deepEqual(tokenizer.encode('a a'), [0, 0]);
  assert.throws(() => tokenizer.encode('a b'), { name: 'DataError', message: /"b"/ });
});
