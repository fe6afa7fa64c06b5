/** Training in bfloat16: gradients of whole models against float64, adapters included, and what a run learns. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { createCompiler } from '../engine/compiler.js';
import { openRuntime } from '../engine/runtime/open.js';
import { readAdapter } from '../model/files/adapter.js';
import { openSafetensors } from '../model/files/safetensors.js';
import { createModel, withLora } from '../model/language-model.js';
import { createRandom } from '../support/random.js';
import { crossEntropy, languageModelObjective } from './objective.js';
import { createOptimizer } from './optimizer.js';
import { createObjectiveStep, createTrainingStep } from './step.js';
import { trainableSpecs } from './trainable.js';
import {
  computeGradients,
  countingRows,
  goldenPath,
  loadGoldenModel,
  readGolden,
  relativeDifference,
  tinyConfig,
  type WeightedRow,
  weightedInput,
} from './training.fixture.js';

const runtime = openRuntime({ threads: 2 });
const compiler = createCompiler(runtime, { precision: 'bfloat16' });
after(() => {
  compiler.dispose();
  runtime.dispose();
});
const skip = compiler.precision === 'bfloat16' ? false : `no kernels for bfloat16: ${runtime.kernels.level}`;

/** Roundings of 2⁻⁹ through the layers and back: the largest error of a tensor, against its largest value. */
const TOLERANCE = 8e-2;
/** What a bias does to all keys alike changes attention little: its gradient is what is left of larger terms. */
const toleranceOf = (parameter: string): number => (parameter.endsWith('k_proj.bias') ? 4 * TOLERANCE : TOLERANCE);

describe('gradients in bfloat16', { skip }, () => {
  for (const name of ['llama3.2', 'llama-bias', 'qwen3']) {
    test(`${name}: near the float64 reference, activations kept or computed twice`, async () => {
      const golden: { model: string; loss: number; rows: WeightedRow[] } = readGolden(`gradients/${name}.json`);
      const expected = openSafetensors(goldenPath(`gradients/${name}.safetensors`));
      const model = await loadGoldenModel(compiler, golden.model);
      for (const checkpointing of [false, true]) {
        const { loss, gradients } = await computeGradients(model, weightedInput(golden.rows, 21), checkpointing);
        assert.ok(Math.abs(loss / golden.loss - 1) < 3e-3, `loss ${loss}, expected ${golden.loss}`);
        for (const [parameter, gradient] of gradients) {
          const difference = relativeDifference(gradient, expected.read(parameter));
          assert.ok(difference < toleranceOf(parameter), `${parameter}: ${difference}`);
        }
      }
      expected.dispose();
      model.dispose();
    });
  }

  test('adapters: near those of peft', async () => {
    const golden: { model: string; loss: number; rows: WeightedRow[] } = readGolden('lora/expected.json');
    const base = await loadGoldenModel(compiler, golden.model);
    const { lora, values } = readAdapter(goldenPath('lora/adapter'), base.config);
    const model = withLora(base, lora, { adapter: values });
    const expected = openSafetensors(goldenPath('lora/gradients.safetensors'));
    const { loss, gradients } = await computeGradients(model, weightedInput(golden.rows, 21));
    assert.ok(Math.abs(loss / golden.loss - 1) < 3e-3, `loss ${loss}, expected ${golden.loss}`);
    for (const [name, gradient] of gradients) {
      const difference = relativeDifference(gradient, expected.read(`base_model.model.${name}`));
      assert.ok(difference < TOLERANCE, `${name}: ${difference}`);
    }
    expected.dispose();
    model.dispose();
  });
});

test('a frozen weight is packed once; what is written to it counts from the next step on', { skip }, async () => {
  const adamw = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, gradientClip: 1 };
  const lora = { rank: 3, alpha: 6, targetModules: ['q_proj', 'v_proj', 'down_proj'] };
  const model = withLora(createModel(compiler, tinyConfig, createRandom(5)), lora, { random: createRandom(6) });
  const rows = countingRows(4).map(({ tokens }) => ({ tokens, weights: tokens.map(() => 1 / 40) }));
  const lossOf = async (step: ReturnType<typeof createStep>) => (await step.run([weightedInput(rows, 32)], 0)).lossNats;
  const optimizer = createOptimizer(runtime, trainableSpecs(tinyConfig, lora), adamw);
  const createStep = () => createTrainingStep(model, optimizer, { ...adamw, checkpointing: false });
  const step = createStep();
  const before = [await lossOf(step), await lossOf(step)];
  assert.equal(before[0], before[1]);
  for (const name of ['model.layers.0.mlp.gate_proj.weight', 'model.layers.1.self_attn.k_proj.weight']) {
    model.parameters.get(name)!.data.fill(0.25);
  }
  const changed = await lossOf(step);
  assert.notEqual(changed, before[0]);
  step.dispose();
  const fresh = createStep();
  assert.equal(await lossOf(fresh), changed);
  for (const owner of [fresh, optimizer, model]) owner.dispose();
});

test('micro-batches see every update and what is written to a trained weight', { skip }, async () => {
  const adamw = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0, gradientClip: 1 };
  const model = createModel(compiler, tinyConfig, createRandom(5));
  const input = weightedInput(
    countingRows(4).map(({ tokens }) => ({ tokens, weights: tokens.map(() => 1 / 80) })),
    32,
  );
  const optimizer = createOptimizer(runtime, trainableSpecs(tinyConfig), adamw);
  const step = createTrainingStep(model, optimizer, { ...adamw, checkpointing: false });
  const lossAt = async (rate: number, parts = [input, input]) => (await step.run(parts, rate)).lossNats;
  const first = await lossAt(1e-2);
  const updated = await lossAt(0);
  assert.ok(updated < first);
  model.parameters.get('model.layers.0.mlp.gate_proj.weight')!.data.fill(0.25);
  const written = await lossAt(0);
  assert.notEqual(written, updated);
  assert.equal(2 * (await lossAt(0, [input])), written, 'a step of one part packs for itself');
  for (const owner of [step, optimizer]) owner.dispose();
  model.dispose();
});

test('the norm of a step is that of its gradients, whatever is trained', { skip }, async () => {
  const adamw = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0, gradientClip: 1 };
  const model = createModel(compiler, { ...tinyConfig, qkvBias: true }, createRandom(5));
  const input = weightedInput(
    countingRows(4).map(({ tokens }) => ({ tokens, weights: tokens.map(() => 1 / 40) })),
    32,
  );
  const { gradients } = await computeGradients(model, input);
  const whole = languageModelObjective(model, crossEntropy, { checkpointing: false });
  for (const left of [/^$/, /k_proj|up_proj/, /norm|bias/]) {
    const isTrained = ([name]: readonly [string, unknown]) => !left.test(name);
    const objective = {
      ...whole,
      key: `${whole.key} but ${left.source}`,
      trained: new Map([...whole.trained].filter(isTrained)),
      build: (...at: Parameters<typeof whole.build>) => {
        const built = whole.build(...at);
        return { ...built, parameters: new Map([...built.parameters].filter(isTrained)) };
      },
    };
    const specs = [...objective.trained].map(([name, { shape }]) => ({ name, shape }));
    const optimizer = createOptimizer(runtime, specs, adamw);
    const step = createObjectiveStep(objective, optimizer, adamw);
    const { gradientNorm } = await step.run([input], 0);
    const squares = [...gradients].filter(isTrained).flatMap(([, values]) => [...values].map((x) => x * x));
    const expected = Math.sqrt(squares.reduce((a, b) => a + b));
    assert.ok(Math.abs(gradientNorm / expected - 1) < 1e-5, `${left}: ${gradientNorm}, expected ${expected}`);
    for (const owner of [step, optimizer]) owner.dispose();
  }
  model.dispose();
});

test('40 steps in bfloat16 learn what they learn in float32', { skip }, async () => {
  const adamw = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, gradientClip: 1 };
  const rows = countingRows(8).map(({ tokens, responseStart }) => ({
    tokens,
    weights: tokens.map((_, index) => (index >= responseStart ? 1 / 40 : 0)),
  }));
  const losses: number[][] = [];
  for (const precision of ['float32', 'bfloat16'] as const) {
    const own = createCompiler(runtime, { precision });
    const model = createModel(own, tinyConfig, createRandom(5));
    const optimizer = createOptimizer(runtime, trainableSpecs(tinyConfig), adamw);
    const step = createTrainingStep(model, optimizer, { ...adamw, checkpointing: false });
    const run: number[] = [];
    for (let index = 0; index < 40; index++) run.push((await step.run([weightedInput(rows, 32)], 3e-3)).lossNats);
    losses.push(run);
    for (const owner of [step, optimizer, model, own]) owner.dispose();
  }
  const [single, half] = losses;
  assert.ok(single[39] < single[0] / 2, 'something is learned');
  single.forEach((loss, index) => {
    assert.ok(Math.abs(half[index] - loss) < 0.02 * single[0], `step ${index}: ${half[index]}, float32 ${loss}`);
  });
});
