/** Inputs for each op of the catalogue, so that a test can go through the whole of a rule table. */
import type { OpKind, OpParams } from './graph/catalogue.js';
import { sizeOf } from './graph/shape-rules.js';
import type { Shape } from './graph/types.js';
import { type Array64, array64, reference } from './reference.fixture.js';

interface CaseInput {
  readonly dtype: 'float32' | 'int64' | 'int32' | 'bool';
  readonly value: Array64;
}

export interface OpCase<P = unknown> {
  readonly inputs: readonly CaseInput[];
  readonly params: P;
}

/** Repeatable numbers in (−1, 1), exactly representable in float32. */
let state = 1;
function next(): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.fround((state / 2 ** 32) * 2 - 1);
}

const float = (shape: Shape, map: (x: number) => number = (x) => x): CaseInput => ({
  dtype: 'float32',
  value: array64(shape, () => Math.fround(map(next()))),
});
const positive = (shape: Shape): CaseInput => float(shape, (x) => Math.abs(x) + 0.25);
const given = (dtype: CaseInput['dtype'], shape: Shape, values: readonly number[]): CaseInput => ({
  dtype,
  value: array64(shape, (index) => values[index]),
});
const ids = (shape: Shape, bound: number): CaseInput =>
  given(
    'int64',
    shape,
    Array.from({ length: sizeOf(shape) }, (_, index) => (index * 7 + 3) % bound),
  );
const constantScalar = (value: number): CaseInput => given('float32', [], [Math.fround(value)]);

const none = {};
const binary: OpCase<OpParams['add']>[] = [
  { inputs: [float([3, 5]), float([3, 5])], params: none },
  { inputs: [float([3, 1]), float([2, 1, 5])], params: none },
  { inputs: [float([2, 3]), float([])], params: none },
];
const divisors: OpCase<OpParams['divide']>[] = [{ inputs: [float([3, 5]), positive([5])], params: none }];
const unary: OpCase<OpParams['negate']>[] = [{ inputs: [float([3, 5])], params: none }];
const rowwise: OpCase<OpParams['softmax']>[] = [
  { inputs: [float([3, 5], (x) => 4 * x)], params: none },
  { inputs: [float([2, 3, 7])], params: none },
];
const reductions: OpCase<OpParams['reduceSum']>[] = [
  { inputs: [float([2, 3, 5])], params: { axes: [1], keepDims: true } },
  { inputs: [float([2, 3, 5])], params: { axes: [0, 2], keepDims: false } },
];
/** Attention shapes: plain, grouped, a single position, a head size that is not a multiple of 16. */
const attentionShapes = [
  { B: 2, T: 5, H: 2, K: 2, D: 4 },
  { B: 1, T: 7, H: 6, K: 2, D: 16 },
  { B: 3, T: 1, H: 3, K: 1, D: 6 },
];
const angles = (positions: number, half: number, f: (x: number) => number): CaseInput => ({
  dtype: 'float32',
  value: array64([positions, half], (index) => Math.fround(f(Math.floor(index / half) / 10 ** (index % half)))),
});

function cached(
  shape: { B: number; T: number; H: number; K: number; D: number; S: number },
  lengths: number[],
  firstChunk: boolean,
) {
  const { B, T, H, K, D, S } = shape;
  return {
    inputs: [
      float([B, T, H, D]),
      float([B, T, K, D]),
      float([B, T, K, D]),
      float([B, K, S, D]),
      float([B, K, S, D]),
      given('int32', [B], lengths),
      given('int32', [1], [firstChunk ? T : Math.max(...lengths)]),
    ],
    params: { scale: 0.4, firstChunk },
  };
}

const withForward = (inputs: CaseInput[], kind: 'attention' | 'rmsNorm', params: never, output: number): CaseInput => ({
  dtype: 'float32',
  value: reference[kind](
    inputs.map((input) => input.value),
    params,
  )[output],
});

export const cases: { readonly [K in OpKind]: readonly OpCase<OpParams[K]>[] } = {
  add: binary,
  subtract: binary,
  multiply: binary,
  divide: divisors,
  minimum: binary,
  maximum: binary,
  lessOrEqual: binary,
  select: [
    {
      inputs: [
        given(
          'bool',
          [3, 5],
          Array.from({ length: 15 }, (_, index) => index % 2),
        ),
        float([3, 5]),
        float([5]),
      ],
      params: none,
    },
  ],
  negate: unary,
  exponential: unary,
  logarithm: [{ inputs: [positive([3, 5])], params: none }],
  squareRoot: [{ inputs: [positive([3, 5])], params: none }],
  sigmoid: unary,
  cast: [
    { inputs: [float([3, 5])], params: { dtype: 'float32' } },
    { inputs: [float([7], (x) => 9 * x)], params: { dtype: 'int64' } },
  ],
  fill: [
    { inputs: [], params: { shape: [2, 3], value: 1.5 } },
    { inputs: [], params: { shape: [], value: -2 } },
  ],
  reshape: [{ inputs: [float([2, 6])], params: { shape: [3, 4] } }],
  transpose: [{ inputs: [float([2, 3, 5])], params: { permutation: [2, 0, 1] } }],
  concat: [{ inputs: [float([2, 3]), float([2, 1]), float([2, 4])], params: { axis: 1 } }],
  slice: [
    { inputs: [float([4, 5])], params: { axis: 1, start: 1, end: 4 } },
    { inputs: [float([4, 5])], params: { axis: 0, start: 0, end: 2 } },
    { inputs: [float([4, 5])], params: { axis: 0, start: 0, end: 4 } },
  ],
  broadcast: [{ inputs: [float([3, 1])], params: { shape: [2, 3, 4] } }],
  after: [{ inputs: [float([3, 5]), float([2, 2])], params: none }],
  detach: [{ inputs: [float([3, 5])], params: none }],
  reduceSum: reductions,
  reduceMax: reductions,
  matmul: [false, true].flatMap((transposeA) =>
    [false, true].flatMap((transposeB) => [
      {
        inputs: [float(transposeA ? [2, 4, 3] : [2, 3, 4]), float(transposeB ? [2, 5, 4] : [2, 4, 5])],
        params: { transposeA, transposeB, alpha: 0.7 },
      },
      {
        inputs: [float(transposeA ? [4, 3] : [3, 4]), float(transposeB ? [5, 4] : [4, 5])],
        params: { transposeA, transposeB, alpha: 1 },
      },
    ]),
  ),
  softmax: rowwise,
  logSoftmax: rowwise,
  cumulativeSum: rowwise,
  gatherRows: [{ inputs: [float([5, 3]), ids([7], 5)], params: none }],
  scatterAddRows: [{ inputs: [float([5, 3]), ids([9], 4), float([9, 3])], params: none }],
  gatherElements: [{ inputs: [float([3, 5]), ids([3, 2], 5)], params: none }],
  scatterElements: [
    { inputs: [float([3, 5]), given('int64', [3, 2], [0, 3, 1, 4, 2, 0]), float([3, 2])], params: none },
  ],
  topK: [{ inputs: [float([3, 7])], params: { k: 4 } }],
  argMax: [{ inputs: [float([3, 7])], params: none }],
  linear: [
    { inputs: [float([4, 3]), float([5, 3])], params: none },
    { inputs: [float([4, 3]), float([5, 3]), float([5])], params: none },
    { inputs: [float([1, 17]), float([3, 17])], params: none },
  ],
  linearInputGradient: [{ inputs: [float([4, 5]), float([5, 3])], params: none }],
  linearWeightGradient: [{ inputs: [float([4, 5]), float([4, 3])], params: none }],
  rmsNorm: [{ inputs: [float([4, 6]), float([6])], params: { epsilon: 1e-5 } }],
  rmsNormBackward: [[float([4, 6]), float([6])]].map((inputs) => ({
    inputs: [...inputs, withForward(inputs, 'rmsNorm', { epsilon: 1e-5 } as never, 1), float([4, 6])],
    params: none,
  })),
  rmsNormTangent: [[float([4, 6]), float([6])]].map((inputs) => ({
    inputs: [...inputs, withForward(inputs, 'rmsNorm', { epsilon: 1e-5 } as never, 1), float([4, 6]), float([6])],
    params: none,
  })),
  swiglu: [{ inputs: [float([4, 6], (x) => 3 * x), float([4, 6])], params: none }],
  swigluBackward: [{ inputs: [float([4, 6], (x) => 3 * x), float([4, 6]), float([4, 6])], params: none }],
  swigluTangent: [{ inputs: [float([4, 6], (x) => 3 * x), float([4, 6]), float([4, 6]), float([4, 6])], params: none }],
  rotary: [false, true].map((inverse) => ({
    inputs: [float([2, 5, 3, 4]), ids([2, 5], 11), angles(11, 2, Math.cos), angles(11, 2, Math.sin)],
    params: { inverse },
  })),
  attention: attentionShapes.map(({ B, T, H, K, D }) => ({
    inputs: [float([B, T, H, D]), float([B, T, K, D]), float([B, T, K, D])],
    params: { scale: 0.6 },
  })),
  attentionBackward: attentionShapes.map(({ B, T, H, K, D }) => {
    const inputs = [float([B, T, H, D]), float([B, T, K, D]), float([B, T, K, D])];
    return {
      inputs: [...inputs, withForward(inputs, 'attention', { scale: 0.6 } as never, 0), float([B, T, H, D])],
      params: { scale: 0.6 },
    };
  }),
  attentionTangent: attentionShapes.map(({ B, T, H, K, D }) => {
    const inputs = [float([B, T, H, D]), float([B, T, K, D]), float([B, T, K, D])];
    return {
      inputs: [
        ...inputs,
        withForward(inputs, 'attention', { scale: 0.6 } as never, 0),
        float([B, T, H, D]),
        float([B, T, K, D]),
        float([B, T, K, D]),
      ],
      params: { scale: 0.6 },
    };
  }),
  cachedAttention: [16, 6].flatMap((D) => [
    cached({ B: 3, T: 1, H: 4, K: 2, D, S: 9 }, [1, 9, 5], false),
    cached({ B: 1, T: 4, H: 4, K: 2, D, S: 12 }, [10], false),
    cached({ B: 1, T: 4, H: 2, K: 2, D, S: 4 }, [4], true),
  ]),
  cachedAttentionTangent: [16, 6].flatMap((D) =>
    [
      cached({ B: 3, T: 1, H: 4, K: 2, D, S: 9 }, [1, 9, 5], false),
      cached({ B: 1, T: 4, H: 4, K: 2, D, S: 12 }, [10], false),
      cached({ B: 1, T: 4, H: 2, K: 2, D, S: 4 }, [4], true),
    ].map(({ inputs: [q, k, v, cacheK, cacheV, lengths], params }) => ({
      inputs: [q, cacheK, cacheV, lengths, ...[q, k, v, cacheK, cacheV].map(({ value: { shape } }) => float(shape))],
      params,
    })),
  ),
  headLoss: [{ inputs: [float([4, 3], (x) => 2 * x), float([7, 3]), ids([4], 7), float([4])], params: none }],
  headLossBackward: [{ inputs: [float([4, 3], (x) => 2 * x), float([7, 3]), ids([4], 7), float([4])], params: none }],
  adamw: [0.05, Number.POSITIVE_INFINITY].map((maxNorm) => ({
    inputs: [
      constantScalar(0.01),
      constantScalar(1 - 0.9 ** 3),
      constantScalar(1 - 0.95 ** 3),
      constantScalar(maxNorm),
      ...[float([3, 2]), float([2])],
      ...[float([3, 2]), float([2])],
      ...[float([3, 2]), float([2])],
      ...[positive([3, 2]), positive([2])],
    ],
    params: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decays: [0.1, 0] },
  })),
};
