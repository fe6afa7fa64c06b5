import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ModelLoadError } from '../support/errors.js';
import { ggufToConfig } from './gguf-config.js';

const metadata = {
  'general.architecture': 'llama',
  'llama.embedding_length': 256,
  'llama.feed_forward_length': 512,
  'llama.block_count': 2,
  'llama.context_length': 131_072,
  'llama.attention.head_count': 4,
  'llama.attention.head_count_kv': 2,
  'llama.attention.layer_norm_rms_epsilon': Math.fround(1e-5),
  'llama.rope.freq_base': 500_000,
  'tokenizer.ggml.eos_token_id': 7,
  'tokenizer.ggml.eot_token_id': 8,
};

/** A file that holds these one-row tensors and an embedding of 100 rows. */
function fileWith(values: Readonly<Record<string, readonly number[]>> = {}) {
  const entry = (shape: number[]) => ({ dtype: 'F32', shape, offset: 0, sizeBytes: 0 });
  const tensors = new Map(Object.entries(values).map(([name, row]) => [name, entry([row.length])]));
  tensors.set('token_embd.weight', entry([100, 256]));
  return { path: 'model.gguf', tensors, read: (name: string) => Float32Array.from(values[name]) };
}

/** Divisors of the 32 frequencies, as convert_hf_to_gguf.py writes them for Llama 3.2 (factor 32). */
function llama3Divisors(factor: number): number[] {
  return Array.from({ length: 32 }, (_, index) => {
    const wavelength = (2 * Math.PI) / 500_000 ** (-index / 32);
    if (wavelength < 8192 / 4) return 1;
    if (wavelength > 8192) return factor;
    const smooth = (8192 / wavelength - 1) / (4 - 1);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

test('sizes, decimals and end-of-sequence ids are read; silence means what the tensors show', () => {
  const config = ggufToConfig(metadata, fileWith({ 'blk.0.attn_q.bias': [0] }));
  assert.equal(config.rmsNormEps, 1e-5);
  assert.equal(config.vocabSize, 100);
  assert.equal(config.headSize, 64);
  assert.deepEqual(config.eosTokenIds, [7, 8]);
  assert.deepEqual([config.tiedHead, config.qkvBias, config.outputBias, config.qkNorm], [true, true, false, false]);
  assert.equal(ggufToConfig(metadata, fileWith({ 'output.weight': [0] })).tiedHead, false);
  assert.deepEqual(config.ropeScaling, { kind: 'none' });
});

test("Llama 3.1's rotary scaling is recognised from the divisors of the frequencies", () => {
  for (const factor of [8, 32])
    assert.deepEqual(ggufToConfig(metadata, fileWith({ 'rope_freqs.weight': llama3Divisors(factor) })).ropeScaling, {
      kind: 'llama3',
      factor,
      lowFrequencyFactor: 1,
      highFrequencyFactor: 4,
      originalMaxPositions: 8192,
    });
  assert.deepEqual(ggufToConfig(metadata, fileWith({ 'rope_freqs.weight': Array(32).fill(1) })).ropeScaling, {
    kind: 'none',
  });
  const other = llama3Divisors(8).map((divisor, index) => (index === 16 ? divisor * 1.01 : divisor));
  assert.throws(
    () => ggufToConfig(metadata, fileWith({ 'rope_freqs.weight': other })),
    /another rule than Llama 3.1's/,
  );
});

test('what would change the result is refused in one sentence that names file and key', () => {
  const cases: [RegExp, object][] = [
    [
      /general.architecture "gemma3" is not a family.*Supported: llama, qwen2, qwen3/,
      { 'general.architecture': 'gemma3' },
    ],
    [/llama.expert_count is 8. Mixtures of experts are not supported/, { 'llama.expert_count': 8 }],
    [/rope.scaling.type "yarn" is not supported/, { 'llama.rope.scaling.type': 'yarn' }],
    [/rope.dimension_count 32 differs from the head size 64/, { 'llama.rope.dimension_count': 32 }],
    [/block_count is missing/, { 'llama.block_count': undefined }],
    [/block_count must be a whole number/, { 'llama.block_count': 2n ** 63n }],
    [/head_count must be a whole number .*got \[1,2\]/, { 'llama.attention.head_count': [1, 2] }],
  ];
  for (const [message, change] of cases)
    assert.throws(
      () => ggufToConfig({ ...metadata, ...change }, fileWith()),
      (error) =>
        error instanceof ModelLoadError && message.test(error.message) && error.message.startsWith('model.gguf: '),
      String(message),
    );
});
