import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { AzeotropeError, ConfigError, ModelLoadError } from '../support/errors.js';
import type { RopeScaling, TransformerConfig } from './config.js';
import { parseHuggingFaceConfig, toHuggingFaceConfig } from './hugging-face-config.js';
import { countParameters, parameterSpecs } from './parameters.js';

interface Golden {
  config: Record<string, unknown>;
  parameters: [string, number[]][];
  count: number;
}
const path = fileURLToPath(new URL('../../test/parity/golden/files/configurations.json', import.meta.url));
const golden: Record<string, Golden> = JSON.parse(readFileSync(path, 'utf8'));

const sizes = {
  vocab_size: 50,
  hidden_size: 12,
  intermediate_size: 20,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  num_key_value_heads: 1,
};
const parse = (json: unknown) => parseHuggingFaceConfig(json, 'config.json');

for (const [name, { config, parameters, count }] of Object.entries(golden))
  test(`parameters are named, ordered and shaped as transformers makes them: ${name}`, () => {
    const parsed = parse(config);
    assert.deepEqual(
      parameterSpecs(parsed).map((spec) => [spec.name, spec.shape]),
      parameters,
    );
    assert.equal(countParameters(parsed), count);
  });

test('both spellings of the rotary embedding mean the same', () => {
  const llama3 = {
    rope_type: 'llama3',
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 64,
  };
  const base = { ...sizes, model_type: 'llama', max_position_embeddings: 512 };
  const published = parse({ ...base, rope_theta: 500_000, rope_scaling: llama3 });
  assert.deepEqual(published, parse({ ...base, rope_parameters: { ...llama3, rope_theta: 500_000 } }));
  assert.deepEqual(published, { ...parse(golden['llama 3.1'].config) });
  assert.equal(published.ropeTheta, 500_000);
  const scaling: RopeScaling = {
    kind: 'llama3',
    factor: 8,
    lowFrequencyFactor: 1,
    highFrequencyFactor: 4,
    originalMaxPositions: 64,
  };
  assert.deepEqual(published.ropeScaling, scaling);
  assert.deepEqual(parse({ ...base, rope_scaling: { type: 'linear', factor: 2 } }).ropeScaling, {
    kind: 'linear',
    factor: 2,
  });
  assert.deepEqual(
    parse({ ...base, rope_scaling: null, rope_theta: 7 }),
    parse({ ...base, rope_parameters: { rope_theta: 7 } }),
  );
});

test('absent keys mean what each family means by them', () => {
  const bare = (family: string, more: object = {}) =>
    parse({ ...sizes, num_key_value_heads: null, model_type: family, ...more });
  assert.deepEqual(
    ['llama', 'qwen2', 'qwen3'].map((family) => {
      const {
        headSize,
        qkvBias,
        outputBias,
        qkNorm,
        tiedHead,
        ropeTheta,
        bosTokenId,
        eosTokenIds,
        numKvHeads,
        maxPositions,
      } = bare(family);
      return {
        headSize,
        qkvBias,
        outputBias,
        qkNorm,
        tiedHead,
        ropeTheta,
        bosTokenId,
        eosTokenIds,
        numKvHeads,
        maxPositions,
      };
    }),
    [
      {
        headSize: 4,
        qkvBias: false,
        outputBias: false,
        qkNorm: false,
        tiedHead: false,
        ropeTheta: 10_000,
        bosTokenId: 1,
        eosTokenIds: [2],
        numKvHeads: 3,
        maxPositions: 2048,
      },
      {
        headSize: 4,
        qkvBias: true,
        outputBias: false,
        qkNorm: false,
        tiedHead: false,
        ropeTheta: 10_000,
        bosTokenId: undefined,
        eosTokenIds: [],
        numKvHeads: 3,
        maxPositions: 32_768,
      },
      {
        headSize: 128,
        qkvBias: false,
        outputBias: false,
        qkNorm: true,
        tiedHead: false,
        ropeTheta: 10_000,
        bosTokenId: undefined,
        eosTokenIds: [],
        numKvHeads: 3,
        maxPositions: 32_768,
      },
    ],
  );
  assert.equal(bare('qwen2', { attention_bias: false }).qkvBias, true); // Qwen2 has no such key
  assert.equal(bare('llama', { bos_token_id: null }).bosTokenId, undefined);
  assert.deepEqual(bare('llama', { eos_token_id: [4, 7, 99] }).eosTokenIds, [4, 7]); // 99 has no row
  assert.equal(bare('llama', { pad_token_id: -1 }).padTokenId, undefined);
});

test('what would change the result is refused in one sentence that names file and key', () => {
  const cases: [RegExp, object][] = [
    [/model_type "gemma3" is not a family.*Supported: llama, qwen2, qwen3, mistral/, { model_type: 'gemma3' }],
    [/Did you mean "llama"\?/, { model_type: 'lama' }],
    [/model_type is missing/, { model_type: undefined }],
    [/hidden_act "gelu" is not supported/, { hidden_act: 'gelu' }],
    [/quantization_config is set/, { quantization_config: { bits: 4 } }],
    [/num_local_experts is set/, { num_local_experts: 8 }],
    [
      /rope_type "yarn" is not supported. Supported: default, linear, llama3/,
      { rope_scaling: { type: 'yarn', factor: 4 } },
    ],
    [/rope_scaling: factor is missing/, { rope_scaling: { type: 'linear' } }],
    [
      /high_freq_factor 1 must be greater/,
      { rope_scaling: { type: 'llama3', factor: 8, low_freq_factor: 4, high_freq_factor: 1 } },
    ],
    [/partial_rotary_factor other than 1/, { partial_rotary_factor: 0.5 }],
    [/use_sliding_window is in use/, { model_type: 'qwen2', use_sliding_window: true, max_window_layers: 1 }],
    [/sliding_window \(4096 .*\) is in use/, { model_type: 'mistral' }],
    [
      /layer_types holds more than full_attention/,
      { model_type: 'qwen3', layer_types: ['full_attention', 'sliding_attention'] },
    ],
    [/hidden_size must be a whole number from 1 to 1048576, got 1.5/, { hidden_size: 1.5 }],
    [/num_hidden_layers must be a whole number .*got -2/, { num_hidden_layers: -2 }],
    [/vocab_size must be .*got 1000000000000/, { vocab_size: 1e12 }],
    [/vocab_size must be .*got "50"/, { vocab_size: '50' }],
    [/vocab_size is missing/, { vocab_size: undefined }],
    [/12 is not a multiple of num_attention_heads 5/, { num_attention_heads: 5 }],
    [/3 query heads cannot share 2 key\/value heads/, { num_key_value_heads: 2 }],
    [/a head of 3 values cannot be rotated/, { head_dim: 3 }],
    [/rms_norm_eps must be a number above 0, got 0/, { rms_norm_eps: 0 }],
    [/tie_word_embeddings must be true or false, got "yes"/, { tie_word_embeddings: 'yes' }],
    [/eos_token_id must be a token id/, { eos_token_id: [1.5] }],
  ];
  for (const [message, change] of cases)
    assert.throws(
      () => parse({ ...sizes, model_type: 'llama', ...change }),
      (error) =>
        error instanceof ModelLoadError && message.test(error.message) && error.message.startsWith('config.json: '),
      `${JSON.stringify(change)} should fail with ${message}`,
    );
  for (const json of [null, [], 'text', 5]) assert.throws(() => parse(json), /expected an object of keys/);
});

test('a sliding window that no layer uses is no obstacle', () => {
  assert.equal(
    parse({ ...sizes, model_type: 'qwen2', use_sliding_window: true, max_window_layers: 2 }).family,
    'qwen2',
  );
  assert.equal(
    parse({ ...sizes, model_type: 'qwen2', sliding_window: 4096, use_sliding_window: false }).family,
    'qwen2',
  );
  assert.equal(parse({ ...sizes, model_type: 'mistral', sliding_window: null }).family, 'mistral');
});

const ropeScaling: fc.Arbitrary<RopeScaling> = fc.constantFrom<RopeScaling>(
  { kind: 'none' },
  { kind: 'linear', factor: 2.5 },
  { kind: 'llama3', factor: 32, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8192 },
);
const configs: fc.Arbitrary<TransformerConfig> = fc
  .record({
    family: fc.constantFrom('llama', 'qwen2', 'qwen3', 'mistral'),
    kv: fc.integer({ min: 1, max: 4 }),
    group: fc.integer({ min: 1, max: 4 }),
    half: fc.integer({ min: 1, max: 64 }),
    bias: fc.boolean(),
    mlpBias: fc.boolean(),
    tiedHead: fc.boolean(),
    ropeScaling,
    id: fc.option(fc.nat(99), { nil: undefined }),
    eosTokenIds: fc.uniqueArray(fc.nat(99), { maxLength: 3 }),
  })
  .map(({ family, kv, group, half, bias, mlpBias, tiedHead, ropeScaling: scaling, id, eosTokenIds }) => ({
    family,
    vocabSize: 100,
    hiddenSize: 24,
    intermediateSize: 40,
    numLayers: 3,
    numHeads: kv * group,
    numKvHeads: kv,
    headSize: 2 * half,
    rmsNormEps: 1e-5,
    ropeTheta: 1e6,
    ropeScaling: scaling,
    maxPositions: 16_384,
    qkvBias: family === 'qwen2' || (family !== 'mistral' && bias),
    outputBias: (family === 'llama' || family === 'qwen3') && bias,
    mlpBias: family === 'llama' && mlpBias,
    qkNorm: family === 'qwen3',
    tiedHead,
    bosTokenId: id,
    eosTokenIds,
    padTokenId: id,
    initializerRange: 0.02,
  }));

test('a description written as config.json and read again is the same description', () => {
  fc.assert(
    fc.property(configs, (config) =>
      assert.deepEqual(parse(JSON.parse(JSON.stringify(toHuggingFaceConfig(config)))), config),
    ),
  );
});

test('a description that the family cannot express is not written', () => {
  const qwen2 = parse({ ...sizes, model_type: 'qwen2' });
  for (const change of [{ qkNorm: true }, { qkvBias: false }, { outputBias: true }, { mlpBias: true }])
    assert.throws(() => toHuggingFaceConfig({ ...qwen2, ...change }), ConfigError);
});

test('any JSON is a description or one clear error', () => {
  const key = fc.constantFrom(
    ...Object.keys(golden['llama 3.1'].config),
    'rope_scaling',
    'sliding_window',
    'layer_types',
  );
  fc.assert(
    fc.property(
      fc.constantFrom(...Object.values(golden)),
      fc.dictionary(key, fc.jsonValue()),
      ({ config }, changes) => {
        try {
          parse({ ...config, ...changes });
        } catch (error) {
          if (!(error instanceof AzeotropeError)) throw error;
        }
      },
    ),
    { numRuns: 500 },
  );
});
