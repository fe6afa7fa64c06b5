import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { createCompiler } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { createGenerator, type GeneratorOptions } from '../../inference/generator.js';
import type { GenerationRequest } from '../../inference/request.js';
import { createScorer } from '../../inference/score.js';
import type { Sequence } from '../../inference/sequence.js';
import type { Trace } from '../../inference/trace.js';
import { openCheckpoint } from '../../model/checkpoint.js';
import { type LanguageModel, loadModel } from '../../model/language-model.js';
import { OverflowError } from '../../support/errors.js';
import { deriveSeed, uniformAt } from '../../support/random.js';
import { createDefence, type DefenceOptions } from './defence.js';
import { samplingDistribution } from './distribution.js';
import { ESTIMATOR_KINDS } from './estimators.js';
import { perturbedModel } from './perturb.js';
import type { ProxyArtefact } from './proxy.js';

const families = join(import.meta.dirname, '../../../test/parity/golden/families');
const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
const open = async (name: string) => loadModel(compiler, await openCheckpoint(join(families, name)));
const teacher = await open('qwen2');
const proxyModel = await open('llama3.2');
const padded = await open('qwen2.5-padded');
after(() => {
  for (const model of [teacher, proxyModel, padded]) model.dispose();
  compiler.dispose();
  runtime.dispose();
});

/** A direction of about the size a gradient has, the same at every run. */
function proxyOf(model: LanguageModel): ProxyArtefact {
  const gradient = new Map(
    [...model.parameters].map(([name, { data }], at) => [
      name,
      data.map((_, index) => 0.05 * Math.sin(index * 1.3 + at)),
    ]),
  );
  const squares = [...gradient.values()].map((values) => values.reduce((sum, value) => sum + value * value, 0));
  return {
    gradient,
    gradientNorm: Math.sqrt(squares.reduce((a, b) => a + b, 0)),
    epsilon: 1e-3,
    epsilonStudy: [],
    lossNats: 1,
    responseTokens: 1,
    precision: 'float32',
    tokenizerFingerprint: null,
    calibration: null,
    provenance: {} as ProxyArtefact['provenance'],
  };
}
const proxy = proxyOf(proxyModel);

const prompts = [[3], [7, 1, 9, 22], [40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50], [5, 5]];
const requests: GenerationRequest[] = prompts.map((promptTokens, index) => ({
  id: String(index),
  promptTokens,
  samples: 2,
  maxTokens: 12,
  seed: 4,
  sampler: { temperature: 0.9 },
}));

async function sample(
  options: GeneratorOptions = {},
  wanted: readonly GenerationRequest[] = requests,
): Promise<Trace[]> {
  const generator = createGenerator(teacher, { chunkSize: 4, ...options });
  const traces: Trace[] = [];
  try {
    await generator.generate(wanted, { onTrace: (trace) => void traces.push(trace) });
  } finally {
    generator.dispose();
  }
  return traces.sort((a, b) => a.id.localeCompare(b.id) || a.sample - b.sample);
}

async function sampleDefended(
  { lambda, ...options }: DefenceOptions & { lambda: number },
  generator: GeneratorOptions = {},
  wanted?: readonly GenerationRequest[],
  model = proxyModel,
): Promise<Trace[]> {
  const defence = createDefence(model, proxyOf(model), options);
  try {
    return await sample({ ...generator, processors: [defence.tilt(lambda)], companions: defence.companions }, wanted);
  } finally {
    defence.dispose();
  }
}

const tokensOf = (traces: readonly Trace[]) => traces.map(({ id, sample: index, tokens }) => ({ id, index, tokens }));

/** log p(·) [V] of a model after each prefix of `tokens`, uncached. */
async function distributions(model: LanguageModel, tokens: readonly number[]): Promise<number[][]> {
  const [{ top }] = await createScorer(model).score([{ id: 'row', tokens: [...tokens, 0] }], {
    topK: model.config.vocabSize,
  });
  return top!.slice(1).map((entries) => {
    const row = new Array<number>(model.config.vocabSize);
    for (const [id, logprob] of entries!) row[id] = logprob;
    return row;
  });
}

/** Δ [V] after each prefix by central differences of uncached scores. */
async function uncachedDelta(tokens: readonly number[]): Promise<number[][]> {
  const epsilon = 1e-3;
  const [forward, backward] = [epsilon, -epsilon].map((step) => perturbedModel(proxyModel, proxy.gradient, step));
  const [plus, minus] = [await distributions(forward, tokens), await distributions(backward, tokens)];
  forward.dispose();
  backward.dispose();
  return plus.map((row, at) => row.map((value, id) => (value - minus[at][id]) / (2 * epsilon)));
}

/** Σ mass·Δ / Σ mass */
const meanOf = (masses: ArrayLike<number>, deltas: readonly number[]): number => {
  const [sum, total] = deltas.reduce(([a, b], delta, id) => [a + masses[id] * delta, b + masses[id]], [0, 0]);
  return sum / total;
};

describe('antidistillation sampling', () => {
  for (const estimator of ESTIMATOR_KINDS) {
    test(`${estimator}: λ = 0 is plain sampling, token for token`, async () => {
      assert.deepEqual(tokensOf(await sampleDefended({ lambda: 0, estimator })), tokensOf(await sample()));
    });

    test(`${estimator}: Δ of a token, from its mean, is the same with a cache, in chunks and in batches as without`, async () => {
      const traces = await sampleDefended({ lambda: 0.3, estimator });
      for (const { promptTokens, tokens, statistics } of traces.slice(0, 5)) {
        const context = [...promptTokens, ...tokens];
        const [rows, logprobs] = [await uncachedDelta(context), await distributions(teacher, context)];
        tokens.forEach((id, index) => {
          const at = promptTokens.length - 1 + index;
          const untilted = samplingDistribution(Float32Array.from(logprobs[at]), undefined, {
            temperature: 0.9,
            lambda: 0,
          });
          const mean = meanOf(untilted, rows[at]);
          const row = rows[at].map((value) => value - mean);
          const scale = Math.max(...row.map(Math.abs));
          const error = Math.abs(statistics!.delta[index] - row[id]);
          // float32 differences of log-probabilities at this ε, and the one-sided difference's first order
          assert.ok(error < (estimator === 'forward' ? 0.05 : 0.01) * scale, `${statistics!.delta[index]}, ${row[id]}`);
        });
      }
    });
  }

  test('draws from softmax(log p/τ + λΔ), and tells its divergence from the untilted distribution', async () => {
    const [lambda, temperature] = [0.4, 0.7];
    const promptTokens = prompts[2];
    const wanted = [{ id: 'a', promptTokens, samples: 64, maxTokens: 1, seed: 9, sampler: { temperature } }];
    const traces = await sampleDefended({ lambda, estimator: 'jvp' }, {}, wanted);
    const log = (await distributions(teacher, promptTokens)).at(-1)!;
    const delta = (await uncachedDelta(promptTokens)).at(-1)!;
    const normalised = (logits: number[]) => {
      const top = Math.max(...logits);
      const total = Math.log(logits.reduce((sum, value) => sum + Math.exp(value - top), 0)) + top;
      return logits.map((value) => value - total);
    };
    const before = normalised(log.map((value) => value / temperature));
    const tilted = normalised(before.map((value, id) => value + lambda * delta[id]));
    const kl = tilted.reduce((sum, value, id) => sum + Math.exp(value) * (value - before[id]), 0);
    assert.ok(kl > 0.05, 'the tilt is one to be seen');
    let numClear = 0;
    for (const trace of traces) {
      assert.ok(Math.abs(trace.statistics!.klNats[0] - kl) < 0.01 * kl);
      const u = uniformAt(deriveSeed(9, 'a', trace.sample), 0);
      let below = 0;
      const id = tilted.findIndex((value) => {
        below += Math.exp(value);
        return below > u;
      });
      const distance = Math.min(Math.abs(below - u), Math.abs(below - Math.exp(tilted[id]) - u));
      if (distance < 0.005) continue;
      numClear++;
      assert.equal(trace.tokens[0], id);
    }
    assert.ok(numClear > 50);
  });

  for (const estimator of ESTIMATOR_KINDS)
    test(`${estimator}: where the support is cut, Δ is counted from its mean over what is left; so are its divergence and its draws`, async () => {
      const lambda = 0.4;
      const samplers = [{ temperature: 0.9, topK: 6 }, { topP: 0.7 }, { temperature: 3, minP: 0.4 }, {}];
      const wanted = requests.map((request, index) => ({ ...request, sampler: samplers[index] }));
      const traces = await sampleDefended({ lambda, estimator }, {}, wanted);
      const one = await sampleDefended({ lambda, estimator }, { maxBatch: 1 }, wanted);
      assert.deepEqual(tokensOf(traces), tokensOf(one));
      for (const { id, promptTokens, tokens, statistics } of traces) {
        const context = [...promptTokens, ...tokens];
        const [deltas, logprobs] = [await uncachedDelta(context), await distributions(teacher, context)];
        tokens.forEach((token, index) => {
          const at = promptTokens.length - 1 + index;
          const settings = { ...samplers[Number(id)], lambda };
          const untilted = samplingDistribution(Float32Array.from(logprobs[at]), undefined, settings);
          const isIn = (each: number) => untilted[each] > 0;
          assert.ok(isIn(token));
          const mean = meanOf(untilted, deltas[at]);
          const scale = Math.max(...deltas[at].map(Math.abs));
          const error = Math.abs(statistics!.delta[index] - (deltas[at][token] - mean));
          assert.ok(error < (estimator === 'forward' ? 0.1 : 0.02) * scale, `${error} of ${scale}`);
          const tilted = samplingDistribution(Float32Array.from(logprobs[at]), Float32Array.from(deltas[at]), settings);
          const kl = tilted.reduce(
            (sum, mass, each) => sum + (mass > 0 ? mass * Math.log(mass / untilted[each]) : 0),
            0,
          );
          assert.ok(Math.abs(statistics!.klNats[index] - kl) < 1e-4 + (estimator === 'forward' ? 0.1 : 0.02) * kl);
        });
      }
    });

  test('in bfloat16 Δ and divergences are the same bits in every batch, beside rows whose support is cut and beside others', async (t) => {
    const half = createCompiler(runtime, { precision: 'bfloat16' });
    if (half.precision !== 'bfloat16') return t.skip('no kernels for bfloat16 here');
    const load = async (name: string) => loadModel(half, await openCheckpoint(join(families, name)));
    const [large, small] = [await load('qwen2'), await load('llama3.2')];
    const defence = createDefence(small, proxyOf(small));
    const samplers = [{ topK: 6 }, { topP: 0.7 }, { minP: 0.2 }, {}];
    const wanted = requests.map((request, index) => ({ ...request, sampler: samplers[index] }));
    const read = async (rows: readonly GenerationRequest[], maxBatch: number) => {
      const { companions } = defence;
      const generator = createGenerator(large, { maxBatch, processors: [defence.tilt(0.3)], companions });
      const found = new Map<string, unknown>();
      await generator.generate(rows, {
        onTrace: ({ id, sample: index, tokens, logprobs, statistics }) =>
          void found.set(`${id} ${index}`, { tokens, logprobs, statistics }),
      });
      generator.dispose();
      return found;
    };
    const together = await read(wanted, 8);
    for (const row of wanted)
      for (const [key, one] of await read([row], 1)) assert.deepEqual(together.get(key), one, key);
    defence.dispose();
    for (const each of [large, small, half]) each.dispose();
  });

  test('tokens that a truncation excludes stay excluded, however large their Δ', async () => {
    const wanted = requests.map((request) => ({ ...request, sampler: { temperature: 1, topK: 2 } }));
    for (const { promptTokens, tokens } of await sampleDefended({ lambda: 5, estimator: 'central' }, {}, wanted)) {
      const rows = await distributions(teacher, [...promptTokens, ...tokens]);
      tokens.forEach((id, index) => {
        const row = rows[promptTokens.length - 1 + index];
        assert.ok(row.filter((value) => value > row[id]).length < 2);
      });
    }
  });

  for (const estimator of ESTIMATOR_KINDS)
    test(`${estimator}: Δ is 0 at ids that the two name differently and stays as it is at others, in batches too`, async () => {
      const unsharedIds = Array.from({ length: 32 }, (_, index) => 2 * index);
      const options = { lambda: 0.4, estimator, unsharedIds };
      const [traces, one] = [await sampleDefended(options), await sampleDefended(options, { maxBatch: 1 })];
      assert.deepEqual(tokensOf(traces), tokensOf(one));
      const seen = new Set<boolean>();
      for (const { promptTokens, tokens, statistics } of traces.slice(0, 5)) {
        const context = [...promptTokens, ...tokens];
        const [deltas, logprobs] = [await uncachedDelta(context), await distributions(teacher, context)];
        tokens.forEach((id, index) => {
          const at = promptTokens.length - 1 + index;
          const isUnshared = id % 2 === 0;
          seen.add(isUnshared);
          const scale = Math.max(...deltas[at].map(Math.abs));
          const wanted = isUnshared ? 0 : deltas[at][id];
          const error = Math.abs(statistics!.delta[index] - wanted);
          assert.ok(isUnshared ? error === 0 : error < (estimator === 'forward' ? 0.05 : 0.01) * scale);
          // KL(tilted ‖ untilted) with Δ 0 at even ids: Σ q (λΔ − ln Z), Z = Σ p e^(λΔ).
          const exponents = deltas[at].map((value, each) => (each % 2 === 0 ? 0 : 0.4 * value));
          const powers = logprobs[at].map((value) => value / 0.9);
          const total = powers.reduce((sum, value) => sum + Math.exp(value), 0);
          const masses = powers.map((value, each) => (Math.exp(value) / total) * Math.exp(exponents[each]));
          const z = masses.reduce((sum, value) => sum + value, 0);
          const kl = masses.reduce((sum, mass, each) => sum + (mass / z) * (exponents[each] - Math.log(z)), 0);
          assert.ok(Math.abs(statistics!.klNats[index] - kl) < (estimator === 'forward' ? 0.1 : 0.02) * kl);
        });
      }
      assert.equal(seen.size, 2);
    });

  test('does not depend on what shares the batch', async () => {
    const one = await sampleDefended({ lambda: 0.3, estimator: 'jvp' }, { maxBatch: 1 });
    const many = await sampleDefended({ lambda: 0.3, estimator: 'jvp' }, { maxBatch: 8 });
    assert.deepEqual(tokensOf(one), tokensOf(many));
  });

  for (const order of ['paper', 'reference-code'] as const)
    test(`${order}: a greedy row takes the likeliest token of the teacher`, async () => {
      const greedy = requests.map((request, index) =>
        index % 2 ? { ...request, sampler: { temperature: 0 } } : request,
      );
      const defended = await sampleDefended({ lambda: 2, estimator: 'jvp', order }, {}, greedy);
      const plain = await sample({}, greedy);
      for (const [index, trace] of defended.entries()) {
        if (trace.sampler.temperature === 0) assert.deepEqual(trace.tokens, plain[index].tokens);
      }
    });

  test('a proxy with more rows of padding than the teacher serves it', async () => {
    const traces = await sampleDefended({ lambda: 0.3, estimator: 'central' }, {}, undefined, padded);
    assert.ok(traces.every(({ tokens }) => tokens.every((id) => id < teacher.config.vocabSize)));
  });

  for (const estimator of ['jvp', 'central'] as const)
    for (const precision of ['float32', 'bfloat16'] as const)
      test(`${estimator}, ${precision}: a tilt beyond float32 is refused, whatever is cut`, async (t) => {
        const own = createCompiler(runtime, { precision });
        if (own.precision !== precision) return t.skip('no kernels for bfloat16 here');
        const load = async (name: string) => loadModel(own, await openCheckpoint(join(families, name)));
        const [large, small] = [await load('qwen2'), await load('llama3.2')];
        const defence = createDefence(small, proxyOf(small), { estimator });
        const { companions } = defence;
        for (const sampler of [{}, { topK: 6 }, { minP: 0.2 }]) {
          const generator = createGenerator(large, { processors: [defence.tilt(1e38)], companions });
          await assert.rejects(
            generator.generate(requests.map((request) => ({ ...request, sampler }))),
            (error) => error instanceof OverflowError && /Row '\d': \w+ is not finite .* λ/.test(error.message),
          );
          generator.dispose();
        }
        defence.dispose();
        for (const each of [large, small, own]) each.dispose();
      });

  test('every setting that shapes the distribution is in the trace', async () => {
    const [trace] = await sampleDefended({
      lambda: 0.25,
      estimator: 'central',
      epsilon: 2e-3,
      order: 'reference-code',
    });
    const { antidistillation } = trace.sampler as Record<string, Record<string, unknown>>;
    assert.deepEqual(
      [antidistillation.lambda, antidistillation.estimator, antidistillation.epsilon, antidistillation.order],
      [0.25, 'central', 2e-3, 'reference-code'],
    );
  });

  test('gives back all memory', async () => {
    const before = runtime.ownedBytes;
    await sampleDefended({ lambda: 0.3, estimator: 'jvp' });
    await sampleDefended({ lambda: 0.3, estimator: 'central', permuted: true });
    assert.equal(runtime.ownedBytes, before);
  });
});

describe('the permuted control', () => {
  test('keeps the multiset of |Δ| at every step, in a new order, decided by the seed', async () => {
    const defence = createDefence(proxyModel, proxy, { estimator: 'jvp', permuted: true });
    const processor = defence.tilt(1);
    const shape = { batch: 2, vocabSize: 64, size: 0 };
    const columns = Object.fromEntries(
      Object.entries(processor.columns(shape)).map(([name, type]) => [name, runtime.tensor(type.dtype, type.shape)]),
    );
    const orders = new Set<string>();
    const sequence = (seed: string, numTokens: number) =>
      ({ seed, tokens: new Array(numTokens).fill(0) }) as unknown as Sequence;
    for (const numTokens of [0, 1, 0]) {
      const sequences = [sequence('a', numTokens), sequence('b', numTokens)];
      await processor.prepare!({ sequences, batch: 2, logits: undefined as never }, columns);
      const ids = Array.from(columns.permutation.data as BigInt64Array, Number);
      for (const row of [ids.slice(0, 64), ids.slice(64)]) {
        assert.deepEqual(
          [...row].sort((a, b) => a - b),
          Array.from({ length: 64 }, (_, id) => id),
        );
      }
      const signs = [...(columns.signs.data as Float32Array)];
      assert.ok(signs.every((sign) => Math.abs(sign) === 1));
      const numNegative = signs.filter((sign) => sign < 0).length;
      assert.ok(numNegative > 32 && numNegative < 96, 'five standard deviations of 128 fair coins');
      orders.add(ids.join());
    }
    assert.equal(orders.size, 2, 'two steps, two orders; the same step again, the same order');
    for (const tensor of Object.values(columns)) tensor.dispose();
    defence.dispose();
  });

  test('changes the distribution by about as much, and says so under its own name', async () => {
    const [trace] = await sampleDefended({ lambda: 0.3, estimator: 'jvp', permuted: true });
    assert.ok('permutation' in trace.sampler);
    assert.ok(trace.statistics!.klNats.every((value) => value > 0));
  });
});
