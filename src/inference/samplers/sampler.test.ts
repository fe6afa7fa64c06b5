/** The sampling graphs against a float64 reference. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { createCompiler } from '../../engine/compiler.js';
import { add } from '../../engine/graph/ops.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { createRandom, uniformAt } from '../../support/random.js';
import type { Sequence } from '../sequence.js';
import { minP } from './min-p.js';
import type { LogitsProcessor } from './processor.js';
import { createRepetitionPenalty } from './repetition-penalty.js';
import { createSampler } from './sampler.js';
import { buildSamplingGraph, LARGEST_UNIFORM, type SamplingShape } from './sampling-graph.js';
import { type SamplerSettings, samplerSchema } from './settings.js';
import { temperature } from './temperature.js';
import { topK } from './top-k.js';
import { topP } from './top-p.js';

const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
after(() => {
  compiler.dispose();
  runtime.dispose();
});

function sequence(settings: Partial<SamplerSettings>, ids: { prompt?: number[]; tokens?: number[] } = {}): Sequence {
  return {
    id: 'a',
    sample: 0,
    promptTokens: ids.prompt ?? [0],
    tokens: ids.tokens ?? [],
    logprobs: [],
    statistics: new Map(),
    seed: 'seed',
    requestSeed: 0,
    sampler: samplerSchema.parse(settings),
    maxTokens: 1,
    stopTokenIds: new Set(),
    text: undefined,
    status: 'decoding',
    slot: 0,
    numCached: 0,
    finish: undefined,
  };
}

function softmaxOf(z: readonly number[]): number[] {
  const highest = Math.max(...z);
  const weights = z.map((value) => Math.exp(value - highest));
  const total = weights.reduce((sum, value) => sum + value, 0);
  return weights.map((value) => value / total);
}

/** What transformers does, in float64: the distribution a token is drawn from. */
function reference(logits: ArrayLike<number>, { sampler, promptTokens, tokens }: Sequence): number[] {
  const exclude = (keep: (value: number) => boolean) => (value: number) =>
    keep(value) ? value : Number.NEGATIVE_INFINITY;
  const seen = new Set([...promptTokens, ...tokens]);
  const penalty = sampler.repetitionPenalty;
  let z = Array.from(logits, (value, id) => (seen.has(id) ? (value > 0 ? value / penalty : value * penalty) : value));
  if (sampler.temperature === 0) return z.map((value) => (value === Math.max(...z) ? 1 : 0));
  z = z.map((value) => value / sampler.temperature);
  if (sampler.topK > 0) {
    const threshold = [...z].sort((a, b) => b - a)[Math.min(sampler.topK, z.length) - 1];
    z = z.map(exclude((value) => value >= threshold));
  }
  if (sampler.topP < 1) {
    // transformers: ascending, dropped while the sum so far, the token included, is at most 1 − p.
    const order = softmaxOf(z)
      .map((p, id) => ({ p, id }))
      .sort((a, b) => a.p - b.p);
    let sum = 0;
    for (const { p, id } of order.slice(0, -1)) {
      sum += p;
      if (sum <= 1 - sampler.topP) z[id] = Number.NEGATIVE_INFINITY;
    }
  }
  if (sampler.minP > 0) {
    const p = softmaxOf(z);
    const threshold = sampler.minP * Math.max(...p);
    z = z.map((value, id) => (p[id] >= threshold ? value : Number.NEGATIVE_INFINITY));
  }
  return softmaxOf(z);
}

const random = createRandom('logits');
const randomLogits = (count: number, scale = 2) => Float32Array.from({ length: count }, () => scale * random.normal());

/** How often each id is drawn when u runs over `count` evenly spaced values. */
async function sweep(logits: Float32Array, row: Sequence, options: { unnamed?: number[]; uniforms?: number[] } = {}) {
  const uniforms = options.uniforms ?? Array.from({ length: 4096 }, (_, index) => (index + 0.5) / 4096);
  const batch = uniforms.length;
  const vocabSize = logits.length;
  const stages = [createRepetitionPenalty(), temperature, topK, topP, minP]
    .filter((processor) => processor.isNeeded([row]))
    .map((processor) => ({ processor, size: processor.size([row], vocabSize) }));
  const shape: SamplingShape = { batch, vocabSize, stages, greedy: false, unnamed: options.unnamed ?? [] };
  const repeated = new Float32Array(batch * vocabSize);
  for (let index = 0; index < batch; index++) repeated.set(logits, index * vocabSize);
  const ids = runtime.tensor('int64', [batch]);
  const tensors = {
    logits: runtime.tensor('float32', [batch, vocabSize], repeated),
    uniforms: runtime.tensor('float32', [batch, 1], uniforms),
    'topP.check': runtime.tensor('float32', [batch, 1]),
    ids,
    logprobs: runtime.tensor('float32', [batch, 1]),
  };
  const columns: Record<string, ReturnType<typeof runtime.tensor>> = {};
  for (const { processor, size } of stages) {
    const stage = { batch, vocabSize, size };
    const own = Object.fromEntries(
      Object.entries(processor.columns(stage)).map(([name, type]) => [name, runtime.tensor(type.dtype, type.shape)]),
    );
    for (let index = 0; index < batch; index++) processor.fill(own, index, row, stage);
    for (const [name, tensor] of Object.entries(own)) columns[`${processor.name}.${name}`] = tensor;
  }
  const key = JSON.stringify([shape, stages.map(({ processor }) => processor.name)]);
  const binding = compiler.bind(key, (g) => buildSamplingGraph(g, shape), { ...tensors, ...columns });
  await binding.run();
  const drawn = Array.from(ids.data, Number);
  binding.dispose();
  for (const tensor of [...Object.values(tensors), ...Object.values(columns)]) tensor.dispose();
  return drawn;
}

const history = { prompt: [1, 2, 3, 2], tokens: [40, 3] };
const settings: Record<string, Partial<SamplerSettings>> = {
  'plain sampling': {},
  'temperature 0.5': { temperature: 0.5 },
  'temperature 3': { temperature: 3 },
  'top-k 1': { topK: 1 },
  'top-k 7': { topK: 7 },
  'top-k 17, more than the smallest size': { topK: 17 },
  'top-k beyond the vocabulary': { topK: 1000 },
  'top-p 0.9': { topP: 0.9 },
  'top-p 0.3': { topP: 0.3 },
  'top-p so small that one token stays': { topP: 1e-6 },
  'min-p 0.1': { minP: 0.1 },
  'min-p 1': { minP: 1 },
  'repetition penalty 1.5': { repetitionPenalty: 1.5 },
  'repetition penalty 0.5': { repetitionPenalty: 0.5 },
  'all of them': { temperature: 1.5, topK: 20, topP: 0.8, minP: 0.05, repetitionPenalty: 1.2 },
};

describe('a sweep of u reproduces the reference distribution', () => {
  for (const [name, choice] of Object.entries(settings)) {
    test(name, async () => {
      const logits = randomLogits(50);
      const row = sequence(choice, history);
      const expected = reference(logits, row);
      const drawn = await sweep(logits, row);
      const counts = new Array<number>(50).fill(0);
      for (const id of drawn) counts[id] += 1;
      for (const [id, count] of counts.entries()) {
        // N evenly spaced values meet an interval of length p in N·p points, give or take one.
        assert.ok(Math.abs(count - drawn.length * expected[id]) <= 1.01, `id ${id}: ${count}, p ${expected[id]}`);
        if (expected[id] === 0) assert.equal(count, 0);
      }
      assert.ok(
        drawn.every((id, index) => index === 0 || id >= drawn[index - 1]),
        'monotonic in u',
      );
    });
  }

  test('ids without a token are never drawn, whatever their logits and u', async () => {
    const logits = randomLogits(32);
    const unnamed = [0, 7, 30, 31];
    for (const id of unnamed) logits[id] = 50;
    const uniforms = [0, 1e-30, 0.25, 0.5, 0.75, 1 - 2 ** -20, LARGEST_UNIFORM];
    for (const choice of [
      {},
      { temperature: 1e-3 },
      { topP: 0.99 },
      { topK: 31 },
      { repetitionPenalty: 2 },
      { minP: 0.5 },
    ]) {
      const drawn = await sweep(logits, sequence(choice, { prompt: [0, 1] }), { unnamed, uniforms });
      assert.ok(
        drawn.every((id) => id < 32 && !unnamed.includes(id)),
        drawn.join(),
      );
    }
  });
});

/** Samples one step of rows with their own logits; ids, logprobs and the reference of each. */
async function step(
  rows: readonly Sequence[],
  logits: Float32Array,
  options: { vocabSize: number; batch?: number; processors?: LogitsProcessor[] },
) {
  const { vocabSize, batch = rows.length, processors = [] } = options;
  const tensor = runtime.tensor('float32', [batch, vocabSize], logits);
  const sampler = createSampler(compiler, { vocabSize, unnamed: [], processors });
  const { ids, logprobs } = await sampler.sample({ sequences: rows, batch, logits: tensor });
  const result = { ids: Array.from(ids, Number), logprobs: [...logprobs] };
  sampler.dispose();
  tensor.dispose();
  return result;
}

/** Checks that u lies in the interval of the id; `slack` is for the float32 sum. */
function assertDrawn(p: readonly number[], u: number, id: number, slack: number): void {
  const below = p.slice(0, id).reduce((sum, value) => sum + value, 0);
  assert.ok(p[id] > 0, `id ${id} has no probability`);
  assert.ok(u >= below - slack && u <= below + p[id] + slack, `u ${u}, id ${id} from ${below} to ${below + p[id]}`);
}

describe('rows of one batch', () => {
  test('have each their own settings, a greedy one too; log-probabilities are the model’s own', async () => {
    const vocabSize = 80;
    const rows = [...Object.values(settings), { temperature: 0 }, { temperature: 0, repetitionPenalty: 1.7 }].map(
      (choice, index) => ({ ...sequence(choice, history), seed: `seed ${index}` }),
    );
    const batch = 32;
    const logits = randomLogits(batch * vocabSize);
    const { ids, logprobs } = await step(rows, logits, { vocabSize, batch });
    for (const [index, row] of rows.entries()) {
      const own = logits.subarray(index * vocabSize, (index + 1) * vocabSize);
      const u = row.sampler.temperature === 0 ? 0 : uniformAt(row.seed, row.tokens.length);
      assertDrawn(reference(own, row), u, ids[index], 1e-6);
      const expected = Math.log(softmaxOf([...own])[ids[index]]);
      assert.ok(Math.abs(logprobs[index] - expected) < 1e-5, `${logprobs[index]}, expected ${expected}`);
    }
  });

  test('all greedy: the likeliest token, the first of equals, after the repetition penalty', async () => {
    const logits = Float32Array.of(1, 4, 4, 0, 3, 2, 2.9, 0);
    const greedy = sequence({ temperature: 0 }, { prompt: [0] });
    const penalised = sequence({ temperature: 0, repetitionPenalty: 2 }, { prompt: [0] });
    assert.deepEqual((await step([greedy, penalised], logits, { vocabSize: 4 })).ids, [1, 2]);
  });

  test('more ids seen than the smallest list, growing step by step', async () => {
    const vocabSize = 300;
    const row = sequence({ temperature: 0, repetitionPenalty: 1e3 }, { prompt: [5] });
    const logits = Float32Array.from({ length: vocabSize }, (_, id) => 10 + id / vocabSize);
    const tensor = runtime.tensor('float32', [1, vocabSize], logits);
    const sampler = createSampler(compiler, { vocabSize, unnamed: [], processors: [] });
    for (let count = 0; count < 200; count++) {
      const { ids } = await sampler.sample({ sequences: [row], batch: 1, logits: tensor });
      row.tokens.push(Number(ids[0]));
    }
    assert.deepEqual(
      row.tokens,
      Array.from({ length: 200 }, (_, index) => vocabSize - 1 - index),
    );
    sampler.dispose();
    tensor.dispose();
  });

  test('top-p is exact where its first candidates do not reach p', async () => {
    const vocabSize = 20_000;
    const rows = [0, 1, 2, 3].map((index) => ({
      ...sequence({ topP: [0.5, 0.02, 0.95, 1][index] }),
      seed: `${index}`,
    }));
    const logits = randomLogits(4 * vocabSize, 0.3); // flat: 1,024 candidates hold about a tenth
    const { ids } = await step(rows, logits, { vocabSize });
    for (const [index, row] of rows.entries()) {
      const own = logits.subarray(index * vocabSize, (index + 1) * vocabSize);
      assertDrawn(reference(own, row), uniformAt(row.seed, 0), ids[index], 2e-5);
    }
  });
});

describe('a further processor', () => {
  test('brings logits of its own, computed before each step, and is left out where it is not needed', async () => {
    const vocabSize = 6;
    let numPrepared = 0;
    const bias: LogitsProcessor = {
      name: 'bias',
      isNeeded: () => true,
      size: () => 0,
      columns: ({ batch }) => ({ values: { dtype: 'float32', shape: [batch, vocabSize] } }),
      build: (g, logits, { columns }) => ({ logits: add(g, logits, columns.values) }),
      fill: () => {},
      async prepare({ sequences, logits }, { values }) {
        await Promise.resolve();
        numPrepared += sequences.length;
        values.data.fill(0 as never);
        values.data[3] = 100 + Number(logits.data[0]);
      },
    };
    const rows = [sequence({ temperature: 0 })];
    const logits = Float32Array.of(0, 9, 0, 0, 0, 0);
    const biased = await step(rows, logits, { vocabSize, processors: [bias] });
    assert.deepEqual(biased.ids, [3]);
    assert.equal(numPrepared, 1);
    assert.ok(Math.abs(biased.logprobs[0] - Math.log(softmaxOf([...logits])[3])) < 1e-5);
    const idle = { ...bias, isNeeded: () => false };
    assert.deepEqual((await step(rows, logits, { vocabSize, processors: [idle] })).ids, [1]);
  });
});
