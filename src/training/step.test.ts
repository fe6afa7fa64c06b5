/** Optimiser steps against torch, and what a step must not depend on. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createCompiler } from '../engine/compiler.js';
import { openRuntime } from '../engine/runtime/open.js';
import { createModel, type LanguageModel } from '../model/language-model.js';
import { createRandom } from '../support/random.js';
import { fillMicroBatch, numResponseTokens, planMicroBatches, type TrainingExample } from './batches.js';
import type { StepInput } from './bound-batches.js';
import { createOptimizer } from './optimizer.js';
import { createTrainingStep } from './step.js';
import { accumulatorName, buildApplyGraph } from './step-graph.js';
import { trainableSpecs } from './trainable.js';
import { countingRows, loadGoldenModel, readGolden, relativeDifference, tinyConfig } from './training.fixture.js';

const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
after(() => {
  compiler.dispose();
  runtime.dispose();
});

const adamw = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 };

/** The parts of one step: the mean over all response tokens. */
function stepParts(examples: readonly TrainingExample[], maxTokens: number): StepInput[] {
  const rows = examples.map((_, index) => index);
  const total = examples.reduce((sum, row) => sum + numResponseTokens(row), 0);
  return planMicroBatches(examples, rows, maxTokens).map((part) => ({
    batch: part.batch,
    time: part.time,
    fill: (arrays) => fillMicroBatch(examples, part, { arrays, tokenWeight: 1 / total }),
  }));
}

function prepare(model: LanguageModel, options: { maxNorm?: number; checkpointing?: boolean } = {}) {
  const specs = trainableSpecs(model.config, model.lora);
  const optimizer = createOptimizer(runtime, specs, { ...adamw, gradientClip: options.maxNorm ?? 1 });
  const trainingStep = createTrainingStep(model, optimizer, {
    ...adamw,
    checkpointing: options.checkpointing ?? false,
  });
  return { ...trainingStep, moments: optimizer.moments };
}

test('20 updates of AdamW with clipping are those of torch within 1e-6', async () => {
  const golden = readGolden('adamw.json');
  const flat = (values: unknown): number[] => [values].flat(4) as number[];
  const specs = Object.entries<number[]>(golden.shapes).map(([name, shape]) => ({ name, shape }));
  const settings = { ...adamw, epsilon: golden.epsilon, weightDecay: golden.weightDecay, beta2: golden.beta2 };
  const optimizer = createOptimizer(runtime, specs, { ...settings, gradientClip: golden.maxGradientNorm });
  const parameters = specs.map(({ name, shape }) => runtime.tensor('float32', shape, flat(golden.initial[name])));
  const accumulators = specs.map(({ shape }) => runtime.tensor('float32', shape));
  const gradientNorm = runtime.tensor('float32', []);
  const binding = compiler.bind('adamw', (g) => buildApplyGraph(g, specs, settings), {
    ...Object.fromEntries(specs.map(({ name }, index) => [name, parameters[index]])),
    ...Object.fromEntries(specs.map(({ name }, index) => [accumulatorName(name), accumulators[index]])),
    ...optimizer.tensors,
    gradientNorm,
  });
  assert.equal(golden.steps.length, 20);
  for (const step of golden.steps) {
    specs.forEach(({ name }, index) => {
      accumulators[index].data.set(flat(step.gradients[name]));
    });
    optimizer.advance(step.learningRate);
    await binding.run();
    assert.ok(Math.abs(gradientNorm.data[0] / step.gradientNorm - 1) < 1e-6);
    specs.forEach(({ name }, index) => {
      const expected = flat(step.parametersFloat64[name]);
      const difference = relativeDifference(parameters[index].data, expected);
      assert.ok(difference < 1e-6, `step ${optimizer.step}, ${name}: ${difference}`);
    });
  }
});

test('20 training steps of a model follow the float64 reference', async () => {
  const golden = readGolden('training.json');
  const model = await loadGoldenModel(compiler, golden.model);
  const trainingStep = prepare(model, { maxNorm: golden.maxGradientNorm });
  const worst = { loss: 0, norm: 0 };
  for (const step of golden.steps) {
    const result = await trainingStep.run(stepParts(step.rows, 4096), step.learningRate);
    worst.loss = Math.max(worst.loss, Math.abs(result.lossNats / step.loss - 1));
    worst.norm = Math.max(worst.norm, Math.abs(result.gradientNorm / step.gradientNorm - 1));
  }
  // Twenty large steps amplify rounding: transformers' own float32 run ends 5.7e-5 away.
  assert.ok(worst.loss < 2e-5, `loss: ${worst.loss}`);
  assert.ok(worst.norm < 1e-4, `norm: ${worst.norm}`);
  for (const { name, stride, values } of golden.finalParameters) {
    const { data } = model.parameters.get(name)!;
    values.forEach((value: number, index: number) => {
      assert.ok(
        Math.abs(data[index * stride] - value) < 2e-4,
        `${name}[${index * stride}]: ${data[index * stride]}, ${value}`,
      );
    });
  }
  trainingStep.dispose();
  model.dispose();
});

test('a step does not depend on the size of its micro-batches, nor on computing activations twice', async () => {
  const examples = countingRows(12);
  const run = async (maxTokens: number, checkpointing: boolean) => {
    const model = createModel(compiler, tinyConfig, createRandom(1));
    const trainingStep = prepare(model, { checkpointing });
    const parts = stepParts(examples, maxTokens);
    const result = await trainingStep.run(parts, 1e-2);
    // After one step the moments are the clipped gradient and its square, up to a factor; the parameters hide it in its sign.
    const state = [...trainingStep.moments, ...model.parameters].map(([name, { data }]) => ({
      name,
      data: data.slice(),
    }));
    trainingStep.dispose();
    model.dispose();
    return { numParts: parts.length, ...result, state };
  };
  const whole = await run(4096, false);
  assert.equal(whole.numParts, 1);
  assert.deepEqual(await run(4096, true), whole);
  for (const maxTokens of [16, 48, 64]) {
    const split = await run(maxTokens, false);
    assert.ok(split.numParts > 2);
    assert.ok(Math.abs(split.lossNats - whole.lossNats) < 1e-5);
    assert.ok(Math.abs(split.gradientNorm / whole.gradientNorm - 1) < 1e-5);
    for (const [index, { name, data }] of split.state.entries()) {
      if (!name.startsWith('m.')) continue;
      const difference = relativeDifference(data, whole.state[index].data);
      assert.ok(difference < 1e-5, `${name}: ${difference}`);
    }
  }
});

test('resident memory stays flat over 1,000 steps', async () => {
  const model = createModel(compiler, { ...tinyConfig, numLayers: 1 }, createRandom(1));
  const trainingStep = prepare(model);
  const parts = stepParts(countingRows(4), 4096);
  for (let step = 0; step < 100; step++) await trainingStep.run(parts, 1e-3);
  globalThis.gc?.();
  const before = process.memoryUsage.rss();
  for (let step = 0; step < 1000; step++) await trainingStep.run(parts, 1e-3);
  const grown = process.memoryUsage.rss() - before;
  assert.ok(grown < 24e6, `grown by ${grown} bytes`);
  trainingStep.dispose();
  model.dispose();
});
