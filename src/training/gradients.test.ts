/** Whole-model gradients and tangents against a float64 reference, and what they must not depend on. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { directionalDerivatives } from '../engine/autodiff/forward.js';
import { createCompiler } from '../engine/compiler.js';
import { attention, logSoftmax } from '../engine/graph/ops.js';
import type { Value } from '../engine/graph/types.js';
import { openRuntime } from '../engine/runtime/open.js';
import { attentionScale, declareWeights, decoderHidden, languageHead } from '../model/decoder.js';
import { openSafetensors } from '../model/files/safetensors.js';
import { modelTensors } from '../model/language-model.js';
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

/** float32 honestly computed is 2e-6 to 3e-6 from float64 (see the golden files). */
const TOLERANCE = 1e-5;

for (const name of ['llama3.2', 'llama-bias', 'qwen3']) {
  describe(name, () => {
    const golden: { model: string; loss: number; rows: WeightedRow[] } = readGolden(`gradients/${name}.json`);
    const expected = openSafetensors(goldenPath(`gradients/${name}.safetensors`));
    after(() => expected.dispose());

    const check = (got: { loss: number; gradients: Map<string, Float32Array> }) => {
      assert.ok(Math.abs(got.loss - golden.loss) < 1e-5 * golden.loss, `loss ${got.loss}, expected ${golden.loss}`);
      assert.deepEqual([...got.gradients.keys()].sort(), [...expected.tensors.keys()].sort());
      for (const [parameter, gradient] of got.gradients) {
        const difference = relativeDifference(gradient, expected.read(parameter));
        assert.ok(difference < TOLERANCE, `${parameter}: ${difference}`);
      }
    };

    test('gradients of ragged rows are those of the float64 reference, one for a tied matrix', async () => {
      const model = await loadGoldenModel(compiler, golden.model);
      check(await computeGradients(model, weightedInput(golden.rows, 21)));
      model.dispose();
    });

    test('neither padding nor computing activations twice changes them', async () => {
      const model = await loadGoldenModel(compiler, golden.model);
      check(await computeGradients(model, weightedInput(golden.rows, 48, 6)));
      const input = weightedInput(golden.rows, 32);
      const kept = await computeGradients(model, input);
      const twice = await computeGradients(model, input, true);
      check(twice);
      assert.deepEqual(twice, kept, 'equal bit for bit');
      model.dispose();
    });
  });
}

test('tangents of log-probabilities are those of the float64 reference', async () => {
  const golden: { model: string; tokens: number[][]; largestTangent: number } = readGolden('gradients/jvp.json');
  const file = openSafetensors(goldenPath('gradients/jvp.safetensors'));
  const model = await loadGoldenModel(compiler, golden.model);
  const { config } = model;
  const [batch, time] = [golden.tokens.length, golden.tokens[0].length];
  const logprobs = runtime.tensor('float32', [batch * time, config.vocabSize]);
  const tangents = runtime.tensor('float32', [batch * time, config.vocabSize]);
  const directions = [...model.parameters].map(
    ([name, { shape }]) =>
      [`direction.${name}`, runtime.tensor('float32', shape, file.read(`direction.${name}`))] as const,
  );
  const binding = compiler.bind(
    'tangents',
    (g) => {
      const weights = declareWeights(g, config);
      const hidden = decoderHidden(g, config, weights, {
        input: {
          tokens: g.input('tokens', 'int64', [batch * time]),
          positions: g.input('positions', 'int64', [batch, time]),
          cos: g.input('cos', 'float32', [time, config.headSize / 2]),
          sin: g.input('sin', 'float32', [time, config.headSize / 2]),
        },
        options: { attend: (_, { q, k, v }) => attention(g, q, k, v, attentionScale(config)) },
      });
      const output = logSoftmax(g, languageHead(g, config, weights, hidden));
      const seeds = new Map<Value, Value>(
        [...weights].map(([name, value]) => [value, g.input(`direction.${name}`, 'float32', value.shape)]),
      );
      const [tangent] = directionalDerivatives(g, [output], seeds);
      g.output('logprobs', output);
      g.output('tangents', tangent);
    },
    {
      ...modelTensors(model, time),
      ...Object.fromEntries(directions),
      tokens: runtime.tensor('int64', [batch * time], golden.tokens.flat()),
      positions: runtime.tensor(
        'int64',
        [batch, time],
        golden.tokens.flatMap((row) => row.map((_, index) => index)),
      ),
      logprobs,
      tangents,
    },
  );
  await binding.run();
  assert.ok(relativeDifference(logprobs.data, file.read('logprobs')) < TOLERANCE);
  const difference = relativeDifference(tangents.data, file.read('tangents'));
  assert.ok(difference < TOLERANCE, `${difference} of the largest tangent, ${golden.largestTangent}`);
  file.dispose();
  binding.dispose();
  model.dispose();
});
