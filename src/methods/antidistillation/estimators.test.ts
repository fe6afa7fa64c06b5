/** Δ of given tokens: against PyTorch and the float64 evaluator, and the laws it obeys. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { createCompiler } from '../../engine/compiler.js';
import { createGraphBuilder } from '../../engine/graph/builder.js';
import { type Array64, array64, evaluate } from '../../engine/reference.fixture.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { buildScoreGraph } from '../../inference/score-graph.js';
import { openSafetensors } from '../../model/files/safetensors.js';
import { createModel } from '../../model/language-model.js';
import { rotaryTables } from '../../model/rotary-tables.js';
import { createRandom } from '../../support/random.js';
import { numResponseTokens } from '../../training/batches.js';
import {
  goldenPath,
  loadGoldenModel,
  readGolden,
  relativeDifference,
  tinyConfig,
} from '../../training/training.fixture.js';
import { golden, loadGoldenProxy, proxyOf } from './antidistillation.fixture.js';
import { samplingDistribution } from './distribution.js';
import { createDeltaEstimator, type EstimatorKind } from './estimators.js';
import { lastLogits } from './read-rows.js';

const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
after(() => {
  compiler.dispose();
  runtime.dispose();
});

const proxyModel = await loadGoldenProxy(compiler);
const proxy = await proxyOf(proxyModel);

const numbersOf = (values: readonly (number | null)[]) => values.slice(1).map((value) => value!);

/**
 * Of the largest value. jvp: honest float32 rounding of g and of the passes. Differences: the float32 rounding of log-probabilities
 * over ε‖g‖ = 8.5e-4 (see models of this size in the log: 6e-4 to 2.5e-3).
 */
const TOLERANCE: Record<EstimatorKind, number> = { jvp: 2e-5, central: 5e-3, forward: 1e-2 };

describe('Δ is that of PyTorch in float64', () => {
  for (const kind of ['jvp', 'central', 'forward'] as const) {
    test(kind, async () => {
      const estimator = createDeltaEstimator(proxyModel, proxy.gradient, { kind, epsilon: golden.epsilon });
      const rows = await estimator.estimate(golden.rows, {
        topK: 5,
        vectorsAfter: (row) => [golden.rows[row].tokens.length - 1],
      });
      const scale = Math.max(...golden.rows.flatMap(({ delta }) => numbersOf(delta).map(Math.abs)));
      for (const [index, { values, top, vectors }] of rows.entries()) {
        const expected = golden.rows[index];
        const wanted = kind === 'jvp' ? expected.delta : expected[kind];
        assert.equal(values.length, expected.tokens.length);
        assert.deepEqual([values[0], top[0], top.length], [null, null, values.length]);
        for (const [at, value] of values.entries()) {
          if (at > 0)
            assert.ok(Math.abs(value! - wanted[at]!) < TOLERANCE[kind] * scale, `${value}, not ${wanted[at]}`);
        }
        for (const largest of top.slice(1)) {
          const sorted = largest!.map(([, value]) => value);
          assert.deepEqual(
            [...sorted].sort((a, b) => b - a),
            sorted,
          );
        }
        assert.equal(vectors.length, 1);
        const difference = relativeDifference(vectors[0], expected.deltaAfterLast);
        assert.ok(difference < 2 * TOLERANCE[kind], `${difference}`);
      }
      estimator.dispose();
    });
  }

  test('along any direction: every id at every position, in batches and through a cache in chunks', async () => {
    const jvp: { model: string; tokens: number[][] } = readGolden('gradients/jvp.json');
    const file = openSafetensors(goldenPath('gradients/jvp.safetensors'));
    const model = await loadGoldenModel(compiler, jvp.model);
    const direction = new Map([...model.parameters.keys()].map((name) => [name, file.read(`direction.${name}`)]));
    const estimator = createDeltaEstimator(model, direction, { kind: 'jvp', epsilon: 0 });
    const rows = jvp.tokens.map((tokens, index) => ({ id: String(index), tokens }));
    const numbers = await estimator.estimate(rows, { vectorsAfter: () => jvp.tokens[0].map((_, at) => at) });
    const got = numbers.flatMap(({ vectors }) => vectors.flatMap((vector) => [...vector]));
    assert.ok(relativeDifference(got, file.read('tangents')) < 1e-5);
    file.dispose();
    estimator.dispose();
    model.dispose();
  });
});

test('the exact Δ is the derivative of log-probabilities that the float64 evaluator computes', async () => {
  const model = createModel(compiler, { ...tinyConfig, numLayers: 1 }, createRandom(5));
  const random = createRandom(6);
  const direction = new Map(
    [...model.parameters].map(([name, { data }]) => [name, data.map(() => Math.fround(random.normal()))] as const),
  );
  const tokens = [7, 3, 40, 12, 9, 21];
  const g = createGraphBuilder();
  const [batch, time] = [1, tokens.length];
  buildScoreGraph(g, model.config, { batch, time, topK: 0 });
  const graph = g.finish();
  const { cos, sin } = rotaryTables(model.config, time);
  const half = model.config.headSize / 2;
  const moved = (step: number): Record<string, Array64> => ({
    ...Object.fromEntries(
      [...model.parameters].map(([name, { shape, data }]) => [
        name,
        array64(shape, (index) => data[index] + step * direction.get(name)![index]),
      ]),
    ),
    tokens: array64([time], (index) => tokens[index]),
    targets: array64([time], (index) => tokens[index + 1] ?? 0),
    positions: array64([1, time], (index) => index),
    cos: array64([time, half], (index) => cos[index]),
    sin: array64([time, half], (index) => sin[index]),
  });
  const step = 1e-5;
  const [ahead, behind] = [step, -step].map((size) => evaluate(graph, moved(size)).logprobs.data);
  const expected = Array.from(ahead.slice(0, -1), (value, index) => (value - behind[index]) / (2 * step));
  const estimator = createDeltaEstimator(model, direction, { kind: 'jvp', epsilon: 0 });
  const [{ values }] = await estimator.estimate([{ id: 'x', tokens }]);
  // The difference itself is right to about step² and 1e-16 / step.
  assert.ok(relativeDifference(numbersOf(values), expected) < 1e-5);
  estimator.dispose();
  model.dispose();
});

test("the mean Δ over the holdout's own response tokens is −‖g‖²", async () => {
  const estimator = createDeltaEstimator(proxyModel, proxy.gradient, { kind: 'jvp', epsilon: 0 });
  const rows = await estimator.estimate(golden.holdout);
  let sum = 0;
  for (const [index, { values }] of rows.entries()) {
    const row = golden.holdout[index];
    for (const value of values.slice(Math.max(1, row.responseStart))) sum += value!;
  }
  const numTokens = golden.holdout.reduce((count, row) => count + numResponseTokens(row), 0);
  const square = proxy.gradientNorm ** 2;
  assert.ok(Math.abs(sum / numTokens + square) < 1e-5 * square, `${sum / numTokens} for −${square}`);
  estimator.dispose();
});

test('Δ is linear in the gradient, and its mean under the proxy itself is zero', async () => {
  const half = new Map([...proxy.gradient].map(([name, values]) => [name, values.map((value) => value / 2)]));
  const row = golden.rows[1];
  const vectorsAfter = () => [row.tokens.length - 1];
  const [whole, halved] = await Promise.all(
    [proxy.gradient, half].map(async (gradient) => {
      const estimator = createDeltaEstimator(proxyModel, gradient, { kind: 'jvp', epsilon: 0 });
      const [numbers] = await estimator.estimate([row], { vectorsAfter });
      estimator.dispose();
      return numbers.vectors[0];
    }),
  );
  const wanted = whole.map((value) => value / 2);
  assert.ok(relativeDifference(halved, wanted) < 1e-6);
  const [logits] = await lastLogits(proxyModel, [row]);
  const p = samplingDistribution(logits, undefined, { lambda: 0 });
  const mean = whole.reduce((sum, value, id) => sum + p[id] * value, 0);
  assert.ok(Math.abs(mean) < 1e-5 * Math.max(...whole.map(Math.abs)), `${mean}`);
});

test('long rows go through a cache and give the same; all memory is given back', async () => {
  const model = createModel(compiler, { ...tinyConfig, maxPositions: 700 }, createRandom(8));
  const random = createRandom(9);
  const gradient = new Map(
    [...model.parameters].map(([name, { data }]) => [name, data.map(() => 0.01 * random.normal())] as const),
  );
  const tokens = Array.from({ length: 600 }, () => random.integer(tinyConfig.vocabSize));
  for (const kind of ['jvp', 'central'] as const) {
    const estimator = createDeltaEstimator(model, gradient, { kind, epsilon: 1e-2 });
    const [{ values: long, vectors }] = await estimator.estimate([{ id: 'long', tokens }], {
      vectorsAfter: () => [400],
    });
    const before = runtime.ownedBytes;
    const short = { id: 'short', tokens: tokens.slice(0, 500) };
    const [{ values, vectors: shortVectors }] = await estimator.estimate([short], { vectorsAfter: () => [400] });
    assert.equal(long.length, 600);
    const tolerance = kind === 'jvp' ? 1e-5 : 1e-3;
    assert.ok(relativeDifference(numbersOf(long.slice(0, 500)), numbersOf(values)) < tolerance);
    assert.ok(relativeDifference(vectors[0], shortVectors[0]) < tolerance);
    await estimator.estimate([{ id: 'long', tokens }]);
    assert.ok(runtime.ownedBytes - before < 2 ** 20, 'only rotary tables stay');
    estimator.dispose();
  }
  model.dispose();
});

test('rows that the proxy cannot read are refused, and a signal stops', async () => {
  const estimator = createDeltaEstimator(proxyModel, proxy.gradient, { kind: 'jvp', epsilon: 0 });
  const { vocabSize, maxPositions } = proxyModel.config;
  await assert.rejects(estimator.estimate([{ id: 'x', tokens: [1, vocabSize] }]), /DataError: Row 'x': token 1 is 64/);
  const long = { id: 'x', tokens: new Array<number>(maxPositions + 1).fill(1) };
  await assert.rejects(estimator.estimate([long]), /DataError: Row 'x' has .* but the context of/);
  const signal = AbortSignal.abort();
  await assert.rejects(estimator.estimate(golden.rows, { signal }), { name: 'AbortError' });
  estimator.dispose();
});
