import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { createCompiler } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import type { Tensor } from '../../engine/runtime/types.js';
import type { Companion } from '../../inference/companions.js';
import { minP } from '../../inference/samplers/min-p.js';
import { createRepetitionPenalty } from '../../inference/samplers/repetition-penalty.js';
import { buildSamplingGraph } from '../../inference/samplers/sampling-graph.js';
import { type SamplerSettings, samplerSchema } from '../../inference/samplers/settings.js';
import { temperature } from '../../inference/samplers/temperature.js';
import { topK } from '../../inference/samplers/top-k.js';
import { topP } from '../../inference/samplers/top-p.js';
import type { Sequence } from '../../inference/sequence.js';
import { createRandom } from '../../support/random.js';
import { samplingDistribution } from './distribution.js';
import { createTilt } from './tilt.js';

const logprobsOf = (masses: readonly number[]) => {
  const total = masses.reduce((sum, mass) => sum + mass, 0);
  return Float32Array.from(masses, (mass) => Math.log(mass / total));
};

const sumOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);

describe('the sampling distribution', () => {
  const masses = fc.array(fc.double({ min: 1e-6, max: 1, noNaN: true }), { minLength: 2, maxLength: 20 });
  const number = (max: number) => fc.double({ min: -max, max, noNaN: true });

  test('sums to 1, and without a tilt is the tempered softmax', () => {
    fc.assert(
      fc.property(masses, fc.double({ min: 0.1, max: 5, noNaN: true }), number(50), (values, temperature, lambda) => {
        const logprobs = logprobsOf(values);
        const delta = logprobs.map((_, index) => Math.sin(index) * 10);
        const tilted = samplingDistribution(logprobs, delta, { temperature, lambda });
        assert.ok(Math.abs(sumOf(tilted) - 1) < 1e-12);
        const plain = samplingDistribution(logprobs, delta, { temperature, lambda: 0 });
        const tempered = [...logprobs].map((value) => Math.exp(value / temperature));
        plain.forEach((value, id) => {
          assert.ok(Math.abs(value - tempered[id] / sumOf(tempered)) < 1e-12);
        });
      }),
    );
  });

  test('log-odds move by λ times the difference of Δ, after the temperature', () => {
    const logprobs = logprobsOf([1, 2, 3]);
    const delta = Float32Array.of(4, -1, 0.5);
    const p = samplingDistribution(logprobs, delta, { temperature: 0.5, lambda: 0.3 });
    const odds = Math.log(p[0] / p[1]);
    assert.ok(Math.abs(odds - ((logprobs[0] - logprobs[1]) / 0.5 + 0.3 * 5)) < 1e-9);
  });

  test('rows that the proxy has not are not tilted; ids without a token have no mass; at temperature 0 all is on the likeliest', () => {
    const logprobs = logprobsOf([1, 5, 3, 6]);
    const short = samplingDistribution(logprobs, Float32Array.of(1, -1), { temperature: 1, lambda: 2 });
    assert.deepEqual(
      short,
      samplingDistribution(logprobs, Float32Array.of(1, -1, 0, 0), { temperature: 1, lambda: 2 }),
    );
    const isNamed = (id: number) => id < 3;
    const named = samplingDistribution(logprobs, undefined, { temperature: 1, lambda: 0, isNamed });
    assert.equal(named[3], 0);
    assert.ok(Math.abs(sumOf(named) - 1) < 1e-12);
    assert.deepEqual(
      samplingDistribution(logprobs, Float32Array.of(9, 0, 0, 0), { temperature: 0, lambda: 5, isNamed }),
      [0, 1, 0, 0],
    );
  });
});

const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
after(() => {
  compiler.dispose();
  runtime.dispose();
});

const NUM_DRAWS = 8192;

interface Drawing extends Partial<SamplerSettings> {
  readonly lambda: number;
  readonly order?: 'paper' | 'reference-code';
}

/** How often the sampler's own graph draws each id where u runs evenly over [0, 1). */
async function frequencies(
  logits: Float32Array,
  { delta, seen, drawing }: { delta: Float32Array; seen: number[]; drawing: Drawing },
): Promise<number[]> {
  const { lambda, order = 'paper', ...settings } = drawing;
  const vocabSize = logits.length;
  const batch = NUM_DRAWS;
  const row = { promptTokens: seen, tokens: [], sampler: samplerSchema.parse(settings) } as unknown as Sequence;
  // A stream of ones and a head of zeros that moves by Δ: log-probabilities move by Δ and a constant.
  const companions = [{ model: { config: { vocabSize, hiddenSize: 1, rmsNormEps: 0 } } } as Companion];
  const given: Record<string, Float32Array> = {
    stream: new Float32Array(batch).fill(1),
    gain: Float32Array.of(1),
    tangentHead: delta,
  };
  const tilt = createTilt({ lambda, estimator: 'jvp', epsilon: 0, order, permuted: false, companions, proxy: {} });
  const tail = order === 'paper' ? [temperature, topK, topP, minP, tilt] : [tilt, temperature, topK, topP, minP];
  const stages = [createRepetitionPenalty(), ...tail]
    .filter((processor) => processor.isNeeded([row]))
    .map((processor) => ({ processor, size: processor.size([row], vocabSize) }));
  const repeated = (values: Float32Array) => {
    const all = new Float32Array(batch * vocabSize);
    for (let index = 0; index < batch; index++) all.set(values, index * vocabSize);
    return all;
  };
  const column = () => runtime.tensor('float32', [batch, 1]);
  const tensors: Record<string, Tensor> = {
    logits: runtime.tensor('float32', [batch, vocabSize], repeated(logits)),
    uniforms: runtime.tensor(
      'float32',
      [batch, 1],
      Float32Array.from({ length: batch }, (_, index) => (index + 0.5) / batch),
    ),
    logprobs: column(),
    'statistics.delta': column(),
    'statistics.klNats': column(),
    'topP.check': column(),
  };
  const ids = runtime.tensor('int64', [batch]);
  for (const { processor, size } of stages) {
    const shape = { batch, vocabSize, size };
    const own = Object.fromEntries(
      Object.entries(processor.columns(shape)).map(([name, { dtype, shape: extents }]) => [
        name,
        runtime.tensor(dtype, extents, given[name]),
      ]),
    );
    for (let index = 0; index < batch; index++) processor.fill(own, index, row, shape);
    for (const [name, tensor] of Object.entries(own)) tensors[`${processor.name}.${name}`] = tensor;
  }
  const key = stages.map(({ processor, size }) => `${processor.name}${size}`).join();
  const graph = { batch, vocabSize, stages, greedy: false, unnamed: [] };
  const binding = compiler.bind(key, (g) => buildSamplingGraph(g, graph), { ...tensors, ids });
  await binding.run();
  const counts = new Array<number>(vocabSize).fill(0);
  for (const id of ids.data) counts[Number(id)]++;
  binding.dispose();
  for (const tensor of [ids, ...Object.values(tensors)]) tensor.dispose();
  return counts.map((count) => count / batch);
}

describe("the distribution and the sampler's graph", () => {
  const random = createRandom('distribution');
  const drawings: Drawing[] = [
    { lambda: 0.4, temperature: 0.6 },
    { lambda: 0.4, topK: 7 },
    { lambda: 0.8, topP: 0.8 },
    { lambda: 0.4, minP: 0.1, temperature: 1.5 },
    { lambda: 0.4, topK: 12, topP: 0.9, minP: 0.05, temperature: 0.8 },
    { lambda: 0, topK: 5, topP: 0.5 },
    { lambda: 0.5, repetitionPenalty: 1.7, topP: 0.9 },
    { lambda: 0.5, topK: 9, topP: 0.95, temperature: 0.6, order: 'reference-code' },
    { lambda: 0.5, repetitionPenalty: 1.3, minP: 0.02, order: 'reference-code' },
  ];
  for (const drawing of drawings) {
    test(`agree under ${JSON.stringify(drawing)}`, async () => {
      const logits = Float32Array.from({ length: 40 }, () => 2 * random.normal());
      const delta = Float32Array.from({ length: 40 }, () => 3 * random.normal());
      const seen = [3, 17, 3, 22];
      const drawn = await frequencies(logits, { delta, seen, drawing });
      const expected = samplingDistribution(logits, delta, { ...drawing, seen });
      assert.ok(Math.abs(sumOf(expected) - 1) < 1e-12);
      // An even grid counts an interval to within one step; float32 sums may move each of its ends over one more.
      expected.forEach((value, id) => {
        assert.ok(Math.abs(value - drawn[id]) <= 3 / NUM_DRAWS, `${id}: ${value}, drawn ${drawn[id]}`);
        if (value === 0) assert.equal(drawn[id], 0);
      });
      const isCut = ['topK', 'topP', 'minP'].some((name) => name in drawing);
      assert.equal(
        expected.some((value) => value === 0),
        isCut,
      );
    });
  }
});
