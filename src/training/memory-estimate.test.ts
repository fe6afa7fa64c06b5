import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countParameters } from '../model/parameters.js';
import { availableBytes, estimateInferenceBytes, estimateTrainingBytes } from './memory-estimate.js';
import { tinyConfig } from './training.fixture.js';

const shape = { batch: 2, time: 64, checkpointing: false };

test('weights and optimiser are exact: one float a parameter, three a trained one', () => {
  const { weightBytes, optimizerBytes } = estimateTrainingBytes(tinyConfig, shape);
  assert.equal(weightBytes, 4 * countParameters(tinyConfig));
  assert.equal(optimizerBytes, 3 * weightBytes);
  const lora = { rank: 2, alpha: 4, targetModules: ['q_proj'] };
  // Two layers, each A [2, 32] and B [32, 2].
  assert.equal(estimateTrainingBytes(tinyConfig, { ...shape, lora }).optimizerBytes, 4 * 3 * 2 * (64 + 64));
});

test('activations grow with tokens and layers, and hardly with layers where they are computed twice', () => {
  const activations = (numLayers: number, checkpointing: boolean, batch = 2) =>
    estimateTrainingBytes({ ...tinyConfig, numLayers }, { ...shape, batch, checkpointing }).activationBytes;
  assert.ok(activations(24, false) > 6 * activations(2, false));
  assert.ok(activations(24, true) < 3 * activations(2, true));
  assert.ok(activations(2, false, 8) > 3.5 * activations(2, false));
});

test('the cache of decoding is two vectors a layer, head and position', () => {
  const of = (context: number) => estimateInferenceBytes(tinyConfig, { batch: 3, context }).activationBytes;
  assert.equal(of(65) - of(64), 3 * 4 * 2 * 2 * 2 * 8);
});

test('the memory that is available is a number of bytes', () => {
  assert.ok(availableBytes() > 1e6 && Number.isFinite(availableBytes()));
});
