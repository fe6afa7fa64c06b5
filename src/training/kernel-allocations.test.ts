/** No kernel allocates once its sizes have settled: training steps and steps of decoding, counted by the library itself. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { createCompiler, effectivePrecision } from '../engine/compiler.js';
import type { Precision } from '../engine/onnx/emitter.js';
import { kernelAllocations } from '../engine/runtime/kernel-allocations.fixture.js';
import { loadKernels } from '../engine/runtime/kernels-library.js';
import { openRuntime } from '../engine/runtime/open.js';
import type { Sequence } from '../inference/sequence.js';
import { createStepRunner } from '../inference/step-runner.js';
import { createModel, type LanguageModel } from '../model/language-model.js';
import { createRandom } from '../support/random.js';
import { fillMicroBatch, planMicroBatches } from './batches.js';
import type { StepInput } from './bound-batches.js';
import { createOptimizer } from './optimizer.js';
import { createTrainingStep } from './step.js';
import { trainableSpecs } from './trainable.js';
import { countingRows, tinyConfig } from './training.fixture.js';

// One thread: how many pieces of scratch memory several take at a time is a matter of chance.
const runtime = openRuntime({ threads: 1 });
after(() => runtime.dispose());
const skip = runtime.kernels.level === 'none' ? `no kernels: ${runtime.kernels.reason}` : false;

const adamw = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 };
const SETTLING_STEPS = 2;
const STEPS = 8;

async function checkSteps(run: (step: number) => Promise<unknown>): Promise<void> {
  loadKernels().trim(); // scratch memory of earlier tests
  const before = kernelAllocations();
  for (let step = 0; step < SETTLING_STEPS; step++) await run(step);
  const settled = kernelAllocations();
  assert.ok(settled > before, 'the counter counts');
  for (let step = SETTLING_STEPS; step < STEPS; step++) await run(step);
  assert.equal(kernelAllocations(), settled);
}

/** Steps of one part and of several, by turns. */
async function train(model: LanguageModel): Promise<void> {
  const specs = trainableSpecs(model.config, model.lora);
  const optimizer = createOptimizer(runtime, specs, { ...adamw, gradientClip: 1 });
  const trainingStep = createTrainingStep(model, optimizer, { ...adamw, checkpointing: false });
  const examples = countingRows(8);
  const parts = (maxTokens: number): StepInput[] =>
    planMicroBatches(examples, [...examples.keys()], maxTokens).map((part) => ({
      batch: part.batch,
      time: part.time,
      fill: (arrays) => fillMicroBatch(examples, part, { arrays, tokenWeight: 1 / 64 }),
    }));
  await checkSteps((step) => trainingStep.run(parts(step % 2 === 0 ? 4096 : 64), 1e-3));
  trainingStep.dispose();
  optimizer.dispose();
}

/** Steps of three sequences; with a direction, of the derivative along it. */
async function decode(model: LanguageModel, isTangent: boolean): Promise<void> {
  const direction = isTangent ? model.parameters : undefined;
  const runner = createStepRunner(model, { maxBatch: 3, maxCacheBytes: 2 ** 26, direction });
  const tokens = Array.from({ length: STEPS + 1 }, (_, index) => index);
  const sequences = [0, 1, 2].map(() => ({ promptTokens: tokens, tokens: [] }) as unknown as Sequence);
  runner.ensure({ slots: 3, capacity: 64 }, []);
  await checkSteps((step) => runner.decode(3, sequences, [step, step, step]));
  runner.dispose();
}

describe('kernels allocate nothing once their sizes have settled', { skip }, () => {
  for (const precision of ['float32', 'bfloat16'] satisfies Precision[]) {
    const isThere = !skip && effectivePrecision(runtime, precision) === precision;
    const options = { skip: isThere ? false : `no kernels of ${precision}` };
    const withModel = async (use: (model: LanguageModel) => Promise<void>): Promise<void> => {
      const compiler = createCompiler(runtime, { precision });
      const model = createModel(compiler, tinyConfig, createRandom('allocations'));
      await use(model);
      model.dispose();
      compiler.dispose();
    };
    test(`training in ${precision}`, options, () => withModel(train));
    test(`decoding in ${precision}`, options, () => withModel((model) => decode(model, false)));
    test(`decoding in ${precision} with a derivative`, options, () => withModel((model) => decode(model, true)));
  }
});
