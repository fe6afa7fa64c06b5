/** What `sample` draws from against what `score --distribution` gives, where a constant in Δ would show. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { createCompiler } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { createGenerator } from '../../inference/generator.js';
import type { Trace } from '../../inference/trace.js';
import { openCheckpoint } from '../../model/checkpoint.js';
import { type LanguageModel, loadModel } from '../../model/language-model.js';
import { deriveSeed, uniformAt } from '../../support/random.js';
import { createDefence, type DefenceOptions } from './defence.js';
import { samplingDistribution } from './distribution.js';
import { createDeltaEstimator, ESTIMATOR_KINDS } from './estimators.js';
import type { ProxyArtefact } from './proxy.js';
import { lastLogits } from './read-rows.js';

const families = join(import.meta.dirname, '../../../test/parity/golden/families');
const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
const open = async (name: string) => loadModel(compiler, await openCheckpoint(join(families, name)));
const [equal, larger, proxyModel] = [await open('qwen2'), await open('qwen2.5-padded'), await open('llama3.2')];
after(() => {
  for (const model of [equal, larger, proxyModel]) model.dispose();
  compiler.dispose();
  runtime.dispose();
});

const EPSILON = 1e-3;
const LAMBDA = 0.4;
const PROMPT = [40, 41, 42, 43, 44, 45, 46, 47];
const SEED = 9;
const NUM_SAMPLES = 64;

/** Of about the size a gradient has; the proxy's logits move by far from 0 in the mean. */
const gradient = new Map(
  [...proxyModel.parameters].map(([name, { data }], at) => [
    name,
    data.map((_, index) => 0.05 * Math.sin(index * 1.3 + at) + 0.02),
  ]),
);
const proxy = {
  gradient,
  gradientNorm: 1,
  epsilon: EPSILON,
  lossNats: 1,
  responseTokens: 1,
} as unknown as ProxyArtefact;

async function draw(
  teacher: LanguageModel,
  options: DefenceOptions,
  sampler: Readonly<Record<string, number>>,
): Promise<Trace[]> {
  const defence = createDefence(proxyModel, proxy, options);
  const { companions } = defence;
  const generator = createGenerator(teacher, { processors: [defence.tilt(LAMBDA)], companions });
  const traces: Trace[] = [];
  const request = { id: 'a', promptTokens: PROMPT, samples: NUM_SAMPLES, maxTokens: 1, seed: SEED, sampler };
  await generator.generate([request], { onTrace: (trace) => void traces.push(trace) });
  generator.dispose();
  defence.dispose();
  return traces;
}

/** The index whose share of [0, 1) holds u, and how far u lies from the ends of that. */
function holderOf(masses: readonly number[], u: number): { id: number; distance: number } {
  let below = 0;
  const id = masses.findIndex((mass) => {
    below += mass;
    return below > u;
  });
  return { id, distance: Math.min(below - u, u - (below - masses[id])) };
}

const cases = {
  'the same ids': { teacher: equal, unsharedIds: [] },
  'ids not shared': { teacher: equal, unsharedIds: Array.from({ length: 32 }, (_, index) => 2 * index) },
  'a proxy of fewer rows': { teacher: larger, unsharedIds: [] },
};

describe('sample and score --distribution tilt by the same Δ', () => {
  test('the proxy has fewer rows than one of the teachers', () => {
    assert.ok(larger.config.vocabSize > proxyModel.config.vocabSize);
    assert.equal(equal.config.vocabSize, proxyModel.config.vocabSize);
  });

  for (const order of ['paper', 'reference-code'] as const)
    for (const estimator of ESTIMATOR_KINDS)
      for (const [name, { teacher, unsharedIds }] of Object.entries(cases))
        test(`${order}, ${estimator}, ${name}`, async () => {
          const sampler = { temperature: 0.7, topP: 0.95 };
          const rows = [{ id: 'a', tokens: PROMPT }];
          const scorer = createDeltaEstimator(proxyModel, gradient, { kind: estimator, epsilon: EPSILON, unsharedIds });
          const [{ vectors }] = await scorer.estimate(rows, { vectorsAfter: () => [PROMPT.length - 1] });
          scorer.dispose();
          const [logits] = await lastLogits(teacher, rows);
          const masses = samplingDistribution(logits, vectors[0], { ...sampler, lambda: LAMBDA, order });

          const traces = await draw(teacher, { estimator, order, unsharedIds }, sampler);
          let numClear = 0;
          for (const trace of traces) {
            const { id, distance } = holderOf(masses, uniformAt(deriveSeed(SEED, 'a', trace.sample), 0));
            if (distance < 1e-3) continue; // float32 sums, and steps of a difference through caches
            numClear++;
            assert.equal(trace.tokens[0], id, `sample ${trace.sample}`);
          }
          assert.ok(numClear > NUM_SAMPLES / 2);

          // Counted from the mean or not, the Δ of two tokens differ as those of the scores.
          const scale = Math.max(...vectors[0].map(Math.abs));
          const isFree = name === 'the same ids';
          const offsets = traces.map(({ tokens, statistics }) => statistics!.delta[0] - (vectors[0][tokens[0]] ?? 0));
          for (const offset of offsets) assert.ok(Math.abs(offset - (isFree ? offsets[0] : 0)) < 0.01 * scale);
        });
});
