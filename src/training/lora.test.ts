/** Adapters against peft: gradients, and log-probabilities with the adapter on and merged. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createCompiler } from '../engine/compiler.js';
import { openRuntime } from '../engine/runtime/open.js';
import { buildScoreGraph } from '../inference/score-graph.js';
import { readAdapter } from '../model/files/adapter.js';
import { openSafetensors } from '../model/files/safetensors.js';
import { type LanguageModel, mergeLora, modelTensors, withLora } from '../model/language-model.js';
import {
  computeGradients,
  goldenPath,
  loadGoldenModel,
  readGolden,
  relativeDifference,
  type WeightedRow,
  weightedInput,
} from './training.fixture.js';

const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
after(() => {
  compiler.dispose();
  runtime.dispose();
});

interface Golden {
  model: string;
  loss: number;
  rows: WeightedRow[];
  tokens: number[];
  baseLogprobs: (number | null)[];
  adaptedLogprobs: (number | null)[];
  mergedLogprobsFloat32: (number | null)[];
}
const golden: Golden = readGolden('lora/expected.json');

async function adapted(): Promise<LanguageModel> {
  const model = await loadGoldenModel(compiler, golden.model);
  const { lora, values } = readAdapter(goldenPath('lora/adapter'), model.config);
  return withLora(model, lora, { adapter: values });
}

async function logprobsOf(model: LanguageModel): Promise<Float32Array> {
  const time = golden.tokens.length;
  const logprobs = runtime.tensor('float32', [time]);
  const binding = compiler.bind(
    `score/${model.architectureKey}`,
    (g) => buildScoreGraph(g, model.config, { batch: 1, time, topK: 0 }, model.lora),
    {
      ...modelTensors(model, time),
      tokens: runtime.tensor('int64', [time], golden.tokens),
      targets: runtime.tensor('int64', [time], [...golden.tokens.slice(1), 0]),
      positions: runtime.tensor(
        'int64',
        [1, time],
        golden.tokens.map((_, index) => index),
      ),
      logprobs,
    },
  );
  await binding.run();
  return logprobs.data.slice(0, -1);
}

/** Log-probabilities within 1e-4 nats, as for whole checkpoints. */
function assertClose(got: Float32Array, expected: readonly (number | null)[]): void {
  expected.slice(1).forEach((value, index) => {
    assert.ok(Math.abs(got[index] - value!) < 1e-4, `token ${index + 1}: ${got[index]}, peft ${value}`);
  });
}

test('log-probabilities are those of peft: without the adapter, with it, and with it merged', async () => {
  const base = await loadGoldenModel(compiler, golden.model);
  assertClose(await logprobsOf(base), golden.baseLogprobs);
  base.dispose();
  const model = await adapted();
  assertClose(await logprobsOf(model), golden.adaptedLogprobs);
  const merged = mergeLora(model);
  assert.equal(merged.lora, undefined);
  assertClose(await logprobsOf(merged), golden.mergedLogprobsFloat32);
  merged.dispose();
});

for (const checkpointing of [false, true])
  test(`gradients of the adapters alone are those of peft${checkpointing ? ', activations computed twice' : ''}`, async () => {
    const model = await adapted();
    const expected = openSafetensors(goldenPath('lora/gradients.safetensors'));
    const { loss, gradients } = await computeGradients(model, weightedInput(golden.rows, 21), checkpointing);
    assert.ok(Math.abs(loss / golden.loss - 1) < 1e-5);
    assert.deepEqual(
      [...gradients.keys()].map((name) => `base_model.model.${name}`).sort(),
      [...expected.tensors.keys()].sort(),
    );
    for (const [name, gradient] of gradients) {
      const difference = relativeDifference(gradient, expected.read(`base_model.model.${name}`));
      assert.ok(difference < 1e-5, `${name}: ${difference}`);
    }
    expected.dispose();
    model.dispose();
  });
