/** Decoding and scoring on native kernels: the same bits in every batch, and close to float32. Skipped where there are none. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { createCompiler, effectivePrecision } from '../engine/compiler.js';
import { openRuntime } from '../engine/runtime/open.js';
import type { TransformerConfig } from '../model/config.js';
import { createModel, type LanguageModel, withLora } from '../model/language-model.js';
import { createRandom } from '../support/random.js';
import { derivativeReader } from './derivatives.fixture.js';
import { createGenerator, type GeneratorOptions } from './generator.js';
import type { GenerationRequest } from './request.js';
import { createScorer } from './score.js';
import type { Sequence } from './sequence.js';
import { createStepRunner } from './step-runner.js';
import type { Trace } from './trace.js';

const runtime = openRuntime({ threads: 2 });
const half = createCompiler(runtime, { precision: 'bfloat16' });
const float = createCompiler(runtime, { precision: 'float32' });
after(() => {
  half.dispose();
  float.dispose();
  runtime.dispose();
});
const skip = effectivePrecision(runtime, 'bfloat16') === 'bfloat16' ? false : 'no kernels for bfloat16 here';

const base: TransformerConfig = {
  family: 'llama',
  vocabSize: 168,
  hiddenSize: 72,
  intermediateSize: 80,
  numLayers: 2,
  numHeads: 3,
  numKvHeads: 1,
  headSize: 16,
  rmsNormEps: 1e-5,
  ropeTheta: 10000,
  ropeScaling: { kind: 'none' },
  maxPositions: 2048,
  qkvBias: false,
  outputBias: false,
  mlpBias: false,
  qkNorm: false,
  tiedHead: true,
  bosTokenId: undefined,
  eosTokenIds: [],
  padTokenId: undefined,
  initializerRange: 0.1,
};

/** Shapes that no tile divides, and those that all do. */
const CONFIGS: Readonly<Record<string, TransformerConfig>> = {
  'heads of 16, odd widths': base,
  'heads of 64, biases, an untied head': { ...base, headSize: 64, hiddenSize: 96, qkvBias: true, tiedHead: false },
  'heads of 80, queries and keys normed': { ...base, headSize: 80, numHeads: 4, numKvHeads: 2, qkNorm: true },
  'heads of 128, one group a head': { ...base, headSize: 128, numHeads: 2, numKvHeads: 2, hiddenSize: 320 },
};

const ADAPTED = 'adapters on every layer';

function modelOf(name: string, compiler = half): LanguageModel {
  if (name !== ADAPTED) return createModel(compiler, CONFIGS[name], createRandom(`native ${name}`));
  const random = createRandom('adapters');
  const lora = { rank: 5, alpha: 8, targetModules: ['q_proj', 'k_proj', 'o_proj', 'gate_proj', 'down_proj'] };
  const model = withLora(createModel(compiler, base, random), lora, { random });
  for (const [key, { data }] of model.parameters) {
    if (key.includes('lora_B')) data.set(data.map(() => 0.1 * random.normal()));
  }
  return model;
}

/** Prompts from 1 token to more than two chunks, sampled in every way that changes no logits. */
const requests = (): GenerationRequest[] =>
  Array.from({ length: 9 }, (_, index) => ({
    id: `row ${index}`,
    promptTokens: Array.from({ length: [1, 2, 33, 64, 97, 130, 5, 300, 31][index] }, (_, at) => (at * 7 + index) % 168),
    maxTokens: 20 + index * 5,
    seed: 3,
    sampler: index % 2 === 0 ? {} : { temperature: 0.7 },
  }));

async function traces(model: LanguageModel, options: GeneratorOptions): Promise<Map<string, Trace>> {
  const generator = createGenerator(model, options);
  const found = new Map<string, Trace>();
  await generator.generate(requests(), { onTrace: (trace) => void found.set(trace.id, trace) });
  generator.dispose();
  return found;
}

/** Rows of derivatives of the log-probabilities, or logits, of what follows each prompt, along a direction that a seed decides. */
async function derivatives(
  compiler: typeof half,
  name: string,
  prompts: readonly number[][],
  chunkSize: number,
  { isLate = false, of }: { isLate?: boolean; of?: 'logprobs' | 'logits' } = {},
): Promise<number[][]> {
  const model = modelOf(name, compiler);
  const random = createRandom('direction');
  const direction = new Map(
    [...model.parameters].map(([key, { shape, data }]) => {
      const values = data.map(() => 0.02 * random.normal());
      return [key, isLate ? runtime.lazy(shape, (into) => into.set(values)) : runtime.tensor('float32', shape, values)];
    }),
  );
  const runner = createStepRunner(model, { maxBatch: prompts.length, maxCacheBytes: 2 ** 30, direction });
  const sequences = prompts.map((promptTokens) => ({ promptTokens, tokens: [] as number[] }) as unknown as Sequence);
  const used = prompts.map(({ length }) => length - 1);
  runner.ensure({ slots: prompts.length, capacity: 512 }, []);
  for (const [slot, sequence] of sequences.entries()) {
    for (let start = 0; start < used[slot]; start += chunkSize) {
      await runner.prefill({ sequences: [sequence], firstSlot: slot, start, time: chunkSize });
    }
  }
  await runner.decode(prompts.length, sequences, used);
  const reader = derivativeReader(model, direction, { runner, batch: prompts.length, of });
  const result = [...(await reader.read())];
  reader.dispose();
  const matrices = [...direction].filter(([key]) => key.endsWith('_proj.weight'));
  if (isLate)
    assert.ok(
      matrices.every(([, { read }]) => read !== undefined),
      'packed without values of their own',
    );
  runner.dispose();
  for (const tensor of direction.values()) tensor.dispose();
  model.dispose();
  const width = result.length / prompts.length;
  return prompts.map((_, row) => result.slice(row * width, (row + 1) * width));
}

/** Every row of every batch, chunk and score has the bits that it has alone. */
async function assertSameBits(model: LanguageModel): Promise<void> {
  const alone = await traces(model, { maxBatch: 1 });
  for (const options of [{ maxBatch: 32 }, { maxBatch: 4, chunkSize: 16, prefillTokens: 32 }]) {
    const together = await traces(model, options);
    for (const [id, { tokens, logprobs }] of alone) {
      assert.deepEqual(together.get(id)?.tokens, tokens, id);
      assert.deepEqual(together.get(id)?.logprobs, logprobs, id);
    }
  }
  const rows = [...alone.values()].map(({ id, promptTokens, tokens }) => ({
    id,
    tokens: [...promptTokens, ...tokens],
  }));
  for (const scorer of [createScorer(model), createScorer(model, { maxWholeRow: 16, chunkSize: 64 })]) {
    for (const { id, logprobs } of await scorer.score(rows)) {
      const trace = alone.get(id)!;
      assert.deepEqual(logprobs.slice(trace.promptTokens.length), trace.logprobs, id);
    }
  }
  model.dispose();
}

for (const of of [half, float]) {
  const missing = of === half ? skip : runtime.kernels.ops.has('FloatLinear') ? false : 'no kernels here';
  for (const name of [...Object.keys(CONFIGS), ADAPTED]) {
    test(
      `${name}, ${of.precision}: tokens and log-probabilities are the same bits in batches of 1, 4 and 32, in chunks of 16 and 256, and when scored`,
      {
        skip: missing,
      },
      () => assertSameBits(modelOf(name, of)),
    );
  }
}

describe('in bfloat16', { skip }, () => {
  for (const name of [...Object.keys(CONFIGS), ADAPTED]) {
    test(`${name}: log-probabilities are those of float32 within 3 % of their spread`, async () => {
      const [model, exact] = [modelOf(name), modelOf(name, float)];
      const rows = requests().map(({ id, promptTokens }) => ({ id, tokens: promptTokens }));
      const [given, wanted] = [await createScorer(model).score(rows), await createScorer(exact).score(rows)];
      const numbers = (scored: typeof given) => scored.flatMap(({ logprobs }) => logprobs.slice(1) as number[]);
      const [a, b] = [numbers(given), numbers(wanted)];
      const mean = b.reduce((sum, value) => sum + value, 0) / b.length;
      const spread = Math.sqrt(b.reduce((sum, value) => sum + (value - mean) ** 2, 0) / b.length);
      const error = Math.sqrt(a.reduce((sum, value, index) => sum + (value - b[index]) ** 2, 0) / b.length);
      assert.ok(spread > 0.1 && error < 0.03 * spread, `error ${error}, spread ${spread}`);
      assert.ok(error > 0, 'the kernels were not used');
      model.dispose();
      exact.dispose();
    });
  }

  /** ‖x − mean x‖ */
  const spreadOf = (values: readonly number[]): number => {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return Math.hypot(...values.map((value) => value - mean));
  };

  for (const name of Object.keys(CONFIGS)) {
    test(`${name}: derivatives along a direction are those of float32 within 8 %, in any batch and any chunks the same bits`, async () => {
      const prompts = [1, 2, 33, 70, 300].map((length) => Array.from({ length }, (_, at) => (at * 5 + length) % 168));
      const alone = await Promise.all(prompts.map((prompt) => derivatives(half, name, [prompt], 256)));
      const exact = await derivatives(float, name, prompts.slice(0, 3), 256);
      const together = await derivatives(half, name, prompts.slice(0, 3), 256);
      assert.deepEqual(together, alone.slice(0, 3).flat());
      for (const [index, prompt] of prompts.entries()) {
        assert.deepEqual(await derivatives(half, name, [prompt], 16), alone[index], `prompt of ${prompt.length}`);
      }
      const [first] = Object.keys(CONFIGS);
      if (name === first)
        assert.deepEqual(await derivatives(half, name, prompts.slice(0, 3), 256, { isLate: true }), together);
      // Those of logits are a constant of the row apart, up to the 8 bits that a head has there, and the same bits however many rows there are.
      const logits = await derivatives(half, name, prompts.slice(0, 3), 256, { of: 'logits' });
      for (const [index, row] of logits.entries()) {
        const [one] = await derivatives(half, name, [prompts[index]], 256, { of: 'logits' });
        assert.deepEqual(row, one);
        const apart = spreadOf(row.map((value, at) => value - together[index][at]));
        assert.ok(apart > 0 && apart < 0.02 * spreadOf(row), `row ${index}: ${apart} apart of ${spreadOf(row)}`);
      }
      for (const [index, row] of exact.entries()) {
        const size = Math.hypot(...row);
        const error = Math.hypot(...row.map((value, at) => value - together[index][at]));
        assert.ok(size > 0.1 && error < 0.08 * size, `row ${index}: error ${error}, size ${size}`);
      }
    });
  }

  test('parameters that changed between two runs are packed anew', async () => {
    const model = modelOf('heads of 16, odd widths');
    const scorer = createScorer(model);
    const rows = [{ id: 'a', tokens: [1, 2, 3, 4] }];
    const generator = createGenerator(model, { maxBatch: 1 });
    const generate = async (): Promise<readonly number[]> => {
      let logprobs: readonly number[] = [];
      const request = { id: 'a', promptTokens: [1, 2], maxTokens: 5, sampler: { temperature: 0 } };
      await generator.generate([request], {
        onTrace(trace) {
          logprobs = trace.logprobs;
        },
      });
      return logprobs;
    };
    const [before, generated] = [await scorer.score(rows), await generate()];
    assert.deepEqual(await scorer.score(rows), before);
    const { data } = model.parameters.get('model.layers.1.mlp.down_proj.weight')!;
    data.set(data.map((value) => -value));
    assert.notDeepEqual(await scorer.score(rows), before);
    assert.notDeepEqual(await generate(), generated);
    generator.dispose();
    model.dispose();
  });
});
