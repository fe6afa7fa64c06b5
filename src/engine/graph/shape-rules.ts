/** For each op, the types of its outputs; throws ShapeError where the inputs do not fit. */
import { ShapeError } from '../../support/errors.js';
import type { OpKind, OpParams } from './catalogue.js';
import type { Dtype, Shape, TensorType } from './types.js';

type Rule<K extends OpKind> = (inputs: readonly TensorType[], params: OpParams[K]) => readonly TensorType[];

const float = (shape: Shape): TensorType => ({ dtype: 'float32', shape });
const int64 = (shape: Shape): TensorType => ({ dtype: 'int64', shape });

export function sizeOf(shape: Shape): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((extent, axis) => extent === b[axis]);
}

function fail(what: string, inputs: readonly TensorType[]): never {
  throw new ShapeError(`${what}; got ${inputs.map(formatType).join(', ')}`);
}

export function formatType(type: TensorType): string {
  return `${type.dtype}[${type.shape.join(', ')}]`;
}

/** Common shape under NumPy's broadcasting rule. */
export function broadcastShapes(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const x = a[a.length - rank + axis] ?? 1;
    const y = b[b.length - rank + axis] ?? 1;
    if (x !== y && x !== 1 && y !== 1) throw new ShapeError(`[${a.join(', ')}] and [${b.join(', ')}] do not broadcast`);
    return Math.max(x, y);
  });
}

function expect(
  inputs: readonly TensorType[],
  pattern: readonly (readonly (number | string)[] | null)[],
  dtypes: string,
) {
  const bound = new Map<string, number>();
  const letters: Record<string, Dtype> = { f: 'float32', l: 'int64', i: 'int32', b: 'bool', h: 'bfloat16' };
  const fits =
    inputs.length === pattern.length &&
    inputs.every((input, index) => {
      const extents = pattern[index];
      if (letters[dtypes[index]] !== input.dtype) return false;
      if (extents === null) return true;
      if (extents.length !== input.shape.length) return false;
      return extents.every((extent, axis) => {
        const actual = input.shape[axis];
        if (typeof extent === 'number') return extent === actual;
        if (!bound.has(extent)) bound.set(extent, actual);
        return bound.get(extent) === actual;
      });
    });
  if (!fits) {
    const wanted = pattern.map(
      (extents, index) => `${letters[dtypes[index]]}[${extents === null ? '…' : extents.join(', ')}]`,
    );
    fail(`expected ${wanted.join(', ')}`, inputs);
  }
}

const elementwise = (inputs: readonly TensorType[]): TensorType[] => {
  expect(inputs, [null, null], 'ff');
  return [float(broadcastShapes(inputs[0].shape, inputs[1].shape))];
};

const unary = (inputs: readonly TensorType[]): TensorType[] => {
  expect(inputs, [null], 'f');
  return [float(inputs[0].shape)];
};

const reduce = (
  inputs: readonly TensorType[],
  { axes, keepDims }: { axes: readonly number[]; keepDims: boolean },
): TensorType[] => {
  expect(inputs, [null], 'f');
  const { shape } = inputs[0];
  if (axes.some((axis) => axis < 0 || axis >= shape.length)) fail(`axes ${axes.join(', ')} out of range`, inputs);
  return [
    float(
      keepDims
        ? shape.map((n, axis) => (axes.includes(axis) ? 1 : n))
        : shape.filter((_, axis) => !axes.includes(axis)),
    ),
  ];
};

/** Query heads must be a multiple of key/value heads. */
function checkGroups(inputs: readonly TensorType[]): void {
  if (inputs[0].shape[2] % inputs[1].shape[2] !== 0) fail('query heads must be a multiple of key/value heads', inputs);
}

const Q = ['B', 'T', 'H', 'D'];
const KV = ['B', 'T', 'K', 'D'];
const CACHE = ['B', 'K', 'S', 'D'];
const HALF_CACHE = ['B', 'K', 'S', 'W'];

export const shapeRules: { readonly [K in OpKind]: Rule<K> } = {
  add: elementwise,
  subtract: elementwise,
  multiply: elementwise,
  divide: elementwise,
  minimum: elementwise,
  maximum: elementwise,
  lessOrEqual: (inputs) => {
    expect(inputs, [null, null], 'ff');
    return [{ dtype: 'bool', shape: broadcastShapes(inputs[0].shape, inputs[1].shape) }];
  },
  select: (inputs) => {
    expect(inputs, [null, null, null], 'bff');
    return [float(broadcastShapes(inputs[0].shape, broadcastShapes(inputs[1].shape, inputs[2].shape)))];
  },
  negate: unary,
  exponential: unary,
  logarithm: unary,
  squareRoot: unary,
  sigmoid: unary,
  cast: (inputs, { dtype }) => [{ dtype, shape: inputs[0].shape }],

  fill: (_, { shape }) => [float(shape)],
  reshape: (inputs, { shape }) => {
    if (sizeOf(inputs[0].shape) !== sizeOf(shape)) fail(`cannot reshape to [${shape.join(', ')}]`, inputs);
    return [{ dtype: inputs[0].dtype, shape }];
  },
  transpose: (inputs, { permutation }) => {
    const { shape, dtype } = inputs[0];
    if ([...permutation].sort((a, b) => a - b).join() !== shape.map((_, axis) => axis).join()) {
      fail(`[${permutation.join(', ')}] is no permutation of the axes`, inputs);
    }
    return [{ dtype, shape: permutation.map((axis) => shape[axis]) }];
  },
  concat: (inputs, { axis }) => {
    const [first] = inputs;
    const fits = inputs.every(
      (x) =>
        x.dtype === first.dtype &&
        x.shape.length === first.shape.length &&
        x.shape.every((extent, at) => at === axis || extent === first.shape[at]),
    );
    if (!fits) fail(`cannot concatenate along axis ${axis}`, inputs);
    const total = inputs.reduce((sum, x) => sum + x.shape[axis], 0);
    return [{ dtype: first.dtype, shape: first.shape.map((extent, at) => (at === axis ? total : extent)) }];
  },
  slice: (inputs, { axis, start, end }) => {
    const { shape, dtype } = inputs[0];
    if (!(start >= 0 && start <= end && end <= shape[axis])) fail(`slice ${start}…${end} of axis ${axis}`, inputs);
    return [{ dtype, shape: shape.map((extent, at) => (at === axis ? end - start : extent)) }];
  },
  broadcast: (inputs, { shape }) => {
    if (!sameShape(broadcastShapes(inputs[0].shape, shape), shape))
      fail(`cannot broadcast to [${shape.join(', ')}]`, inputs);
    return [{ dtype: inputs[0].dtype, shape }];
  },
  after: (inputs) => {
    expect(inputs, [null, null], 'ff');
    return [inputs[0]];
  },
  detach: unary,

  reduceSum: reduce,
  reduceMax: reduce,
  matmul: (inputs, { transposeA, transposeB }) => {
    expect(inputs, [null, null], 'ff');
    const [a, b] = inputs.map((x) => x.shape);
    if (a.length < 2 || b.length < 2) fail('matmul needs two axes', inputs);
    const [m, k] = transposeA ? [a[a.length - 1], a[a.length - 2]] : [a[a.length - 2], a[a.length - 1]];
    const [kb, n] = transposeB ? [b[b.length - 1], b[b.length - 2]] : [b[b.length - 2], b[b.length - 1]];
    if (k !== kb) fail('matmul: inner extents differ', inputs);
    return [float([...broadcastShapes(a.slice(0, -2), b.slice(0, -2)), m, n])];
  },
  softmax: unary,
  logSoftmax: unary,
  cumulativeSum: unary,

  gatherRows: (inputs) => {
    expect(inputs, [['R', 'C'], ['N']], 'fl');
    return [float([inputs[1].shape[0], inputs[0].shape[1]])];
  },
  scatterAddRows: (inputs) => {
    expect(inputs, [['R', 'C'], ['N'], ['N', 'C']], 'flf');
    return [inputs[0]];
  },
  gatherElements: (inputs) => {
    expect(
      inputs,
      [
        ['N', 'V'],
        ['N', 'M'],
      ],
      'fl',
    );
    return [float(inputs[1].shape)];
  },
  scatterElements: (inputs) => {
    expect(
      inputs,
      [
        ['N', 'V'],
        ['N', 'M'],
        ['N', 'M'],
      ],
      'flf',
    );
    return [inputs[0]];
  },
  topK: (inputs, { k }) => {
    expect(inputs, [['N', 'V']], 'f');
    if (k < 1 || k > inputs[0].shape[1]) fail(`top ${k}`, inputs);
    return [float([inputs[0].shape[0], k]), int64([inputs[0].shape[0], k])];
  },
  argMax: (inputs) => {
    expect(inputs, [['N', 'V']], 'f');
    return [int64([inputs[0].shape[0]])];
  },

  linear: (inputs) => {
    if (inputs.length === 3) expect(inputs, [['N', 'I'], ['O', 'I'], ['O']], 'fff');
    else
      expect(
        inputs,
        [
          ['N', 'I'],
          ['O', 'I'],
        ],
        'ff',
      );
    return [float([inputs[0].shape[0], inputs[1].shape[0]])];
  },
  linearInputGradient: (inputs) => {
    expect(
      inputs,
      [
        ['N', 'O'],
        ['O', 'I'],
      ],
      'ff',
    );
    return [float([inputs[0].shape[0], inputs[1].shape[1]])];
  },
  linearWeightGradient: (inputs) => {
    expect(
      inputs,
      [
        ['N', 'O'],
        ['N', 'I'],
      ],
      'ff',
    );
    return [float([inputs[0].shape[1], inputs[1].shape[1]])];
  },

  rmsNorm: (inputs) => {
    expect(inputs, [['N', 'C'], ['C']], 'ff');
    return [inputs[0], float([inputs[0].shape[0], 1])];
  },
  rmsNormBackward: (inputs) => {
    expect(inputs, [['N', 'C'], ['C'], ['N', 1], ['N', 'C']], 'ffff');
    return [inputs[0], inputs[1]];
  },
  rmsNormTangent: (inputs) => {
    expect(inputs, [['N', 'C'], ['C'], ['N', 1], ['N', 'C'], ['C']], 'fffff');
    return [inputs[0]];
  },
  swiglu: (inputs) => {
    expect(
      inputs,
      [
        ['N', 'F'],
        ['N', 'F'],
      ],
      'ff',
    );
    return [inputs[0]];
  },
  swigluBackward: (inputs) => {
    expect(
      inputs,
      [
        ['N', 'F'],
        ['N', 'F'],
        ['N', 'F'],
      ],
      'fff',
    );
    return [inputs[0], inputs[0]];
  },
  swigluTangent: (inputs) => {
    expect(
      inputs,
      [
        ['N', 'F'],
        ['N', 'F'],
        ['N', 'F'],
        ['N', 'F'],
      ],
      'ffff',
    );
    return [inputs[0]];
  },
  rotary: (inputs) => {
    expect(
      inputs,
      [
        ['B', 'T', 'H', 'D'],
        ['B', 'T'],
        ['P', 'half'],
        ['P', 'half'],
      ],
      'flff',
    );
    if (inputs[0].shape[3] !== 2 * inputs[2].shape[1])
      fail('rotary: the head size must be twice the cosine table', inputs);
    return [inputs[0]];
  },
  attention: (inputs) => {
    expect(inputs, [Q, KV, KV], 'fff');
    checkGroups(inputs);
    return [inputs[0]];
  },
  attentionBackward: (inputs) => {
    expect(inputs, [Q, KV, KV, Q, Q], 'fffff');
    return [inputs[0], inputs[1], inputs[2]];
  },
  attentionTangent: (inputs) => {
    expect(inputs, [Q, KV, KV, Q, Q, KV, KV], 'fffffff');
    return [inputs[0]];
  },
  cachedAttention: (inputs, { firstChunk }) => {
    const isHalf = inputs[3]?.dtype === 'bfloat16';
    const cache = isHalf ? HALF_CACHE : CACHE;
    expect(inputs, [Q, KV, KV, cache, cache, ['B'], [1]], isHalf ? 'fffhhii' : 'fffffii');
    checkGroups(inputs);
    const [batch, time] = inputs[0].shape;
    if (time > 1 && batch > 1 && !firstChunk) fail('a later chunk takes one row at a time', inputs);
    if (time > inputs[3].shape[2]) fail('more new tokens than the cache holds', inputs);
    return [inputs[0], inputs[3], inputs[4]];
  },
  cachedAttentionTangent: (inputs) => {
    const isHalf = inputs[1]?.dtype === 'bfloat16';
    const cache = isHalf ? HALF_CACHE : CACHE;
    expect(inputs, [Q, cache, cache, ['B'], Q, KV, KV, cache, cache], isHalf ? 'fhhifffhh' : 'fffifffff');
    return [inputs[0], inputs[1], inputs[2]];
  },
  headLoss: (inputs) => {
    expect(inputs, [['N', 'C'], ['V', 'C'], ['N'], ['N']], 'fflf');
    return [float([]), float([inputs[0].shape[0]])];
  },
  headLossBackward: (inputs) => {
    expect(inputs, [['N', 'C'], ['V', 'C'], ['N'], ['N']], 'fflf');
    return [inputs[0], inputs[1]];
  },
  adamw: (inputs, { decays }) => {
    const n = decays.length;
    const tensors = inputs.slice(4);
    const fits =
      inputs.slice(0, 4).every((x) => x.shape.length === 0) &&
      tensors.length === 4 * n &&
      tensors.every((x, index) => sameShape(x.shape, tensors[index % n].shape) && x.dtype === 'float32');
    if (!fits) fail(`adamw needs 4 scalars and p, g, m, v of ${n} tensors`, inputs.slice(0, 8));
    const parameters = tensors.slice(0, n);
    return [float([]), ...parameters, ...parameters, ...parameters];
  },
};
