import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { sharedPath } from '../support/shared-data.fixture.js';
import { encodeExample } from './example.js';
import { openTokenizer } from './open.js';
import { rustLibrary, sharedTokenizer, smallTokenizers, wellFormed } from './tokenizer.fixture.js';
import type { Tokenizer } from './types.js';

const SOURCES: readonly [file: string, key: string, count: number][] = [
  ['gsm8k/train.jsonl', 'question', 80],
  ['gsm8k/train.jsonl', 'answer', 80],
  ['math/math500.jsonl', 'solution', 40],
  ['instruct/dolly_train.jsonl', 'response', 80],
  ['corpus/tinyshakespeare.jsonl', 'text', 20],
  ['corpus/tinystories_sample.jsonl', 'text', 5],
];

function texts(): string[] {
  const rows = SOURCES.flatMap(([file, key, count]) => {
    const lines = readFileSync(sharedPath(`data/${file}`)!, 'utf8').split('\n', count);
    return lines.filter((line) => line !== '').map((line) => String(JSON.parse(line)[key]));
  });
  const hard = smallTokenizers.smollm.cases.map(([text]) => text);
  return [...rows, ...hard, '<|endoftext|>a<|im_end|> <think>b', '\ud800 lone', `${'\u{1d400}ﷺ'.repeat(20)}`];
}

const shared = { gpt2: sharedTokenizer('gpt2'), qwen3: sharedTokenizer('qwen3') };
// Opening a large vocabulary takes a second on a busy machine.
const tokenizers = new Map<string, Tokenizer>();

function opened(name: 'gpt2' | 'qwen3'): Tokenizer {
  const known = tokenizers.get(name);
  if (known !== undefined) return known;
  const { json, config } = shared[name]!;
  const tokenizer = openTokenizer({ kind: 'hugging-face', tokenizerJson: JSON.parse(json), tokenizerConfig: config });
  tokenizers.set(name, tokenizer);
  return tokenizer;
}

const needsShared = 'needs ../shared/data/tokenizers';
const rust = rustLibrary();
for (const name of ['gpt2', 'qwen3'] as const) {
  const skip = shared[name] === undefined ? needsShared : rust === undefined && 'needs the binding "tokenizers"';

  test(`${name}: ids and texts of real and hard text equal the Rust library's`, { skip }, async () => {
    const tokenizer = opened(name);
    const truth = rust!.Tokenizer.fromString(shared[name]!.json);
    let numRoundTrips = 0;
    for (const text of texts()) {
      const ids = tokenizer.encode(text, { addSpecialTokens: false });
      const expected = (await truth.encode(text, null, { addSpecialTokens: false })).getIds();
      assert.deepEqual(ids, expected, JSON.stringify(text));
      const decoded = tokenizer.decode(ids);
      assert.equal(decoded, await truth.decode(ids, false));
      // Qwen composes characters before it cuts; a lone surrogate is no text.
      assert.equal(decoded, wellFormed(name === 'qwen3' ? text.normalize('NFC') : text));
      numRoundTrips++;
    }
    assert.ok(numRoundTrips > 300);
  });

  // Linear work is done in a second; quadratic work on so long a text would take minutes.
  test(`${name}: long text without spaces does not take for ever`, {
    skip: shared[name] === undefined && needsShared,
    timeout: 15_000,
  }, () => {
    const tokenizer = opened(name);
    for (const unit of ['abcdefghijklmnopqrstuvwxyz', 'a', ' ', '\n ', '漢字']) {
      const text = unit.repeat(Math.ceil(60_000 / unit.length));
      assert.equal(tokenizer.decode(tokenizer.encode(text)), text);
    }
  });
}

test("Qwen3: thought and end of turn are the model's own tokens", {
  skip: shared.qwen3 === undefined && needsShared,
}, () => {
  const tokenizer = opened('qwen3');
  const { tokens, responseStart } = encodeExample(tokenizer, { prompt: 'Hi', response: 'Yes' });
  const response = tokens.slice(responseStart).map((id) => tokenizer.tokenOf(id));
  assert.deepEqual(response, ['<think>', 'ĊĊ', '</think>', 'ĊĊ', 'Yes', '<|im_end|>']);
});
