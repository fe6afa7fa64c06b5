/** Float32 kernels against float64, through the engine. (kernels/test goes through every instruction set.) */
import assert from 'node:assert/strict';
import { after as afterAll, describe, test } from 'node:test';
import { cases, type OpCase } from '../../cases.fixture.js';
import { createGraphBuilder } from '../../graph/builder.js';
import type { OpKind, OpParams } from '../../graph/catalogue.js';
import { type Array64, array64, evaluate, reference } from '../../reference.fixture.js';
import { openRuntime } from '../../runtime/open.js';
import type { Tensor } from '../../runtime/types.js';
import { compileGraph } from '../compile.js';

const runtime = openRuntime({ threads: 2 });
afterAll(() => runtime.dispose());
const { kernels } = runtime;
const skip = kernels.level === 'none' ? `no kernels: ${kernels.reason}` : false;

/** Outputs that overwrite an input. */
const inPlace: Partial<Record<OpKind, Readonly<Record<number, string>>>> = {
  cachedAttention: { 1: 'x3', 2: 'x4' },
  cachedAttentionTangent: { 1: 'x7', 2: 'x8' },
};

/** The op's results by the float32 kernels, and whether a node of them was used. */
function run(kind: OpKind, { inputs, params }: OpCase): { outputs: Tensor[]; isNative: boolean } {
  const g = createGraphBuilder();
  const values = inputs.map(({ dtype, value }, index) => g.input(`x${index}`, dtype, value.shape));
  g.apply(kind, values, params as never).forEach((value, index) => {
    const inPlaceOf = inPlace[kind]?.[index];
    g.output(`y${index}`, value, inPlaceOf === undefined ? {} : { inPlaceOf });
  });
  const options = { numThreads: 2, kernels: kernels.ops };
  const model = compileGraph(g.finish(), options);
  const tensors = inputs.map(({ dtype, value: { shape, data } }) =>
    runtime.tensor(dtype, shape, dtype === 'int64' ? BigInt64Array.from(data, BigInt) : (data as never)),
  );
  const given = Object.fromEntries(tensors.map((tensor, index) => [`x${index}`, tensor]));
  const outputs = Object.values(model.outputs).map(({ dtype, shape, inPlaceOf }) =>
    inPlaceOf === undefined ? runtime.tensor(dtype, shape) : given[inPlaceOf],
  );
  const session = runtime.session(model);
  const binding = session.bind(given, Object.fromEntries(outputs.map((tensor, index) => [`y${index}`, tensor])));
  binding.runSync();
  binding.dispose();
  session.dispose();
  return { outputs, isNative: Buffer.from(model.bytes).includes('azeotrope') };
}

function expected(kind: OpKind, { inputs, params }: OpCase): readonly Array64[] {
  const g = createGraphBuilder();
  const values = inputs.map(({ dtype, value }, index) => g.input(`x${index}`, dtype, value.shape));
  g.apply(kind, values, params as never).forEach((value, index) => {
    g.output(`y${index}`, value);
  });
  const results = evaluate(g.finish(), Object.fromEntries(inputs.map(({ value }, index) => [`x${index}`, value])));
  return Object.keys(results).map((_, index) => results[`y${index}`]);
}

const wave = (shape: readonly number[], seed: number) => ({
  dtype: 'float32' as const,
  value: array64(shape, (index) => Math.fround(Math.sin(index * 1.37 + seed))),
});

/** Attention over more keys than a block of the kernel, more queries than its lanes, and a head wider than a vector. */
function longAttention(kind: 'attention' | 'attentionBackward' | 'attentionTangent'): OpCase {
  const [q, kv] = [
    [1, 71, 3, 20],
    [1, 71, 1, 20],
  ];
  const params = { scale: 0.3 } satisfies OpParams['attention'];
  const inputs = [wave(q, 1), wave(kv, 2), wave(kv, 3)];
  if (kind === 'attention') return { inputs, params };
  const [o] = reference.attention(
    inputs.map(({ value }) => value),
    params,
  );
  const rest = kind === 'attentionBackward' ? [wave(q, 4)] : [wave(q, 5), wave(kv, 6), wave(kv, 7)];
  return { inputs: [...inputs, { dtype: 'float32', value: o }, ...rest], params };
}

/** Float32 rounding over sums of at most a few hundred terms, and 2e-7 of the exponential. */
const TOLERANCE = 6e-6;

const kinds = [
  ...(['rmsNorm', 'rmsNormBackward', 'rmsNormTangent', 'swiglu', 'swigluBackward', 'swigluTangent'] as const),
  ...(['rotary', 'attention', 'attentionBackward', 'attentionTangent'] as const),
  ...(['cachedAttention', 'cachedAttentionTangent'] as const),
];
const more: Partial<Record<OpKind, OpCase>> = {
  attention: longAttention('attention'),
  attentionBackward: longAttention('attentionBackward'),
  attentionTangent: longAttention('attentionTangent'),
  rmsNorm: { inputs: [wave([67, 53], 1), wave([53], 2)], params: { epsilon: 1e-5 } },
  swiglu: { inputs: [wave([113, 79], 1), wave([113, 79], 2)], params: {} },
};

describe('float32 kernels', { skip }, () => {
  for (const kind of kinds) {
    test(`${kind}: the kernel's result is the float64 one`, () => {
      const extra = more[kind];
      for (const [index, opCase] of [...cases[kind], ...(extra === undefined ? [] : [extra])].entries()) {
        const { outputs, isNative } = run(kind, opCase);
        assert.ok(isNative, `case ${index} was lowered to standard nodes`);
        expected(kind, opCase).forEach(({ data }, output) => {
          const scale = Math.max(1, ...data.map(Math.abs));
          data.forEach((value, at) => {
            const actual = Number(outputs[output].data[at]);
            const message = `case ${index} output ${output}[${at}]: ${actual}, expected ${value}`;
            assert.ok(Math.abs(actual - value) <= TOLERANCE * scale, message);
          });
        });
      }
    });
  }
});

describe('float32 attention does not depend on what stands beside a query', { skip }, () => {
  const [time, heads, groups, size] = [75, 3, 1, 24];
  const scale = 0.25;
  const q = wave([1, time, heads, size], 1);
  const k = wave([1, time, groups, size], 2);
  const v = wave([1, time, groups, size], 3);
  const part = (x: typeof q, from: number, to: number) => {
    const [, , n, d] = x.value.shape;
    return {
      dtype: 'float32' as const,
      value: { shape: [1, to - from, n, d], data: x.value.data.slice(from * n * d, to * n * d) },
    };
  };
  const whole = () => run('attention', { inputs: [q, k, v], params: { scale } }).outputs[0].data as Float32Array;

  test('chunks against a cache give the bits of the whole sequence, wherever it is cut', () => {
    const expectedBits = whole();
    let cache: Tensor[] = [0, 1].map(() => runtime.tensor('float32', [1, groups, 96, size]));
    const cuts = [0, 33, 34, 35, 70, time];
    for (const [index, from] of cuts.slice(0, -1).entries()) {
      const to = cuts[index + 1];
      const kept = cache.map(({ data, shape }) => ({
        dtype: 'float32' as const,
        value: { shape, data: Float64Array.from(data as Float32Array) },
      }));
      const numbers = (value: number) => ({ dtype: 'int32' as const, value: array64([1], () => value) });
      const inputs = [part(q, from, to), part(k, from, to), part(v, from, to), ...kept, numbers(to), numbers(to)];
      const { outputs } = run('cachedAttention', { inputs, params: { scale, firstChunk: from === 0 } });
      const from0 = from * heads * size;
      assert.deepEqual(outputs[0].data, expectedBits.slice(from0, to * heads * size), `tokens ${from}…${to}`);
      cache = outputs.slice(1);
    }
  });

  test('what stands behind a position, even no number, does not reach what stands before the block it is in', () => {
    const spoilt = { ...v, value: { ...v.value, data: v.value.data.slice() } };
    spoilt.value.data.fill(Number.NaN, 70 * groups * size);
    const { outputs } = run('attention', { inputs: [q, k, spoilt], params: { scale } });
    const actual = outputs[0].data as Float32Array;
    const numClean = 64 * heads * size; // 32 lanes are ten tokens of three heads: tokens 0…63 are in blocks of their own
    assert.deepEqual(actual.slice(0, numClean), whole().slice(0, numClean));
    assert.ok(actual.slice(70 * heads * size).every(Number.isNaN));
  });
});
