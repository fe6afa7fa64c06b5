import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRandom } from '../support/random.js';
import { parseHuggingFaceConfig } from './hugging-face-config.js';
import { countParameters, ggufNameOf, headParameterName, initialParameter, parameterSpecs } from './parameters.js';

const qwen3 = parseHuggingFaceConfig(
  {
    model_type: 'qwen3',
    vocab_size: 512,
    hidden_size: 64,
    intermediate_size: 96,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    attention_bias: true,
    initializer_range: 0.05,
  },
  'test',
);

test('published models have their published number of parameters', () => {
  const smollm2 = {
    model_type: 'llama',
    vocab_size: 49_152,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    tie_word_embeddings: true,
  };
  assert.equal(countParameters(parseHuggingFaceConfig(smollm2, 'test')), 134_515_008);
  const qwen = {
    model_type: 'qwen2',
    vocab_size: 151_936,
    hidden_size: 896,
    intermediate_size: 4864,
    num_hidden_layers: 24,
    num_attention_heads: 14,
    num_key_value_heads: 2,
    tie_word_embeddings: true,
  };
  assert.equal(countParameters(parseHuggingFaceConfig(qwen, 'test')), 494_032_768);
});

test('every parameter has a name of its own in llama.cpp', () => {
  const names = parameterSpecs(qwen3).map(({ name }) => ggufNameOf(name));
  assert.equal(new Set(names).size, names.length);
  assert.equal(ggufNameOf('model.layers.12.self_attn.k_norm.weight'), 'blk.12.attn_k_norm.weight');
  assert.throws(() => ggufNameOf('model.layers.x.mlp.up_proj.weight'), /internal: no GGUF name/);
});

test('the head is the embedding where tied, a matrix of its own otherwise', () => {
  const names = (tiedHead: boolean) => parameterSpecs({ ...qwen3, tiedHead }).map(({ name }) => name);
  for (const tiedHead of [true, false]) {
    assert.equal(names(tiedHead).includes('lm_head.weight'), !tiedHead);
    assert.ok(names(tiedHead).includes(headParameterName({ ...qwen3, tiedHead })));
  }
});

test('fresh weights: norms one, biases zero, matrices normal with the given deviation and the seed alone deciding', () => {
  for (const spec of parameterSpecs(qwen3)) {
    const values = initialParameter(spec, qwen3, createRandom(5));
    if (spec.name.endsWith('norm.weight')) assert.ok(values.every((value) => value === 1));
    else if (spec.name.endsWith('.bias')) assert.ok(values.every((value) => value === 0));
    else {
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
      const standardError = 0.05 / Math.sqrt(values.length);
      assert.ok(Math.abs(mean) < 4 * standardError, `${spec.name}: mean ${mean}`);
      assert.ok(
        Math.abs(Math.sqrt(variance) - 0.05) < 4 * standardError,
        `${spec.name}: deviation ${Math.sqrt(variance)}`,
      );
      assert.deepEqual(
        initialParameter(spec, qwen3, createRandom(5), { into: new Float32Array(values.length) }),
        values,
      );
    }
  }
});
