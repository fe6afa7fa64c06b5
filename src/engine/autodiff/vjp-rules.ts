/**
 * Reverse mode: for each op, the cotangents of its inputs from those of its outputs. A missing cotangent is a zero. An op
 * without a rule carries the reason, which becomes the error when a gradient would have to pass.
 */
import type { GraphBuilder } from '../graph/builder.js';
import type { OpKind } from '../graph/catalogue.js';
import {
  add,
  broadcast,
  cast,
  cumulativeSum,
  divide,
  exponential,
  fill,
  gatherRows,
  lessOrEqual,
  linear,
  matmul,
  multiply,
  negate,
  reduceSum,
  reshape,
  rotary,
  select,
  slice,
  subtract,
  transpose,
} from '../graph/ops.js';
import { sameShape } from '../graph/shape-rules.js';
import type { Node, Shape, Value } from '../graph/types.js';

/** A cotangent that is zero but for some rows of a table: rows [N, C] to be added at ids [N]. */
export interface RowsCotangent {
  readonly ids: Value;
  readonly rows: Value;
}

export type Cotangent = Value | RowsCotangent | undefined;

/** `wanted[i]`: input i leads to something that a gradient was asked for; rules may skip the others. */
export type VjpRule<K extends OpKind> = (
  g: GraphBuilder,
  node: Node<K>,
  cotangents: readonly (Value | undefined)[],
  wanted: readonly boolean[],
) => readonly Cotangent[];

export interface NoRule {
  /** Why there is none. */
  readonly none: string;
}

export const integerResult: NoRule = { none: 'its result is an index, which has no derivative' };
export const secondOrder: NoRule = { none: 'it is itself a derivative; second derivatives through it are not defined' };

/** Sums a broadcast cotangent back to the shape of the operand. */
function sumTo(g: GraphBuilder, x: Value, shape: Shape): Value {
  if (sameShape(x.shape, shape)) return x;
  const lead = x.shape.length - shape.length;
  const axes = x.shape
    .map((_, axis) => axis)
    .filter((axis) => axis < lead || (shape[axis - lead] === 1 && x.shape[axis] !== 1));
  return reshape(g, reduceSum(g, x, axes, true), shape);
}

/** 1 where a ≤ b, else 0. */
function indicator(g: GraphBuilder, a: Value, b: Value): Value {
  return cast(g, lessOrEqual(g, a, b), 'float32');
}

const matmulVjp: VjpRule<'matmul'> = (g, { inputs: [a, b], params }, [dy], wanted) => {
  const { transposeA, transposeB, alpha } = params;
  const da = () =>
    transposeA
      ? matmul(g, b, dy!, { transposeA: transposeB, transposeB: true, alpha })
      : matmul(g, dy!, b, { transposeB: !transposeB, alpha });
  const db = () =>
    transposeB
      ? matmul(g, dy!, a, { transposeA: true, transposeB: transposeA, alpha })
      : matmul(g, a, dy!, { transposeA: !transposeA, alpha });
  return [wanted[0] ? sumTo(g, da(), a.shape) : undefined, wanted[1] ? sumTo(g, db(), b.shape) : undefined];
};

/** Cotangent of min (`keepA`: a ≤ b) or max (b ≤ a): it flows to the operand that was kept; a tie goes to the first. */
function extremum(g: GraphBuilder, node: Node, dy: Value, order: readonly [Value, Value]): readonly Cotangent[] {
  const [a, b] = node.inputs;
  const keep = lessOrEqual(g, ...order);
  const zero = fill(g, dy.shape, 0);
  return [sumTo(g, select(g, keep, dy, zero), a.shape), sumTo(g, select(g, keep, zero, dy), b.shape)];
}

export const vjpRules: { readonly [K in OpKind]: VjpRule<K> | NoRule } = {
  add: (g, { inputs: [a, b] }, [dy]) => [sumTo(g, dy!, a.shape), sumTo(g, dy!, b.shape)],
  subtract: (g, { inputs: [a, b] }, [dy]) => [sumTo(g, dy!, a.shape), sumTo(g, negate(g, dy!), b.shape)],
  multiply: (g, { inputs: [a, b] }, [dy], wanted) => [
    wanted[0] ? sumTo(g, multiply(g, dy!, b), a.shape) : undefined,
    wanted[1] ? sumTo(g, multiply(g, dy!, a), b.shape) : undefined,
  ],
  divide: (g, { inputs: [a, b], outputs: [y] }, [dy]) => {
    const da = divide(g, dy!, b);
    return [sumTo(g, da, a.shape), sumTo(g, negate(g, multiply(g, da, y)), b.shape)];
  },
  minimum: (g, node, [dy]) => extremum(g, node, dy!, [node.inputs[0], node.inputs[1]]),
  maximum: (g, node, [dy]) => extremum(g, node, dy!, [node.inputs[1], node.inputs[0]]),
  lessOrEqual: { none: 'a comparison is constant almost everywhere' },
  select: (g, { inputs: [condition, a, b] }, [dy]) => {
    const zero = fill(g, dy!.shape, 0);
    return [
      undefined,
      sumTo(g, select(g, condition, dy!, zero), a.shape),
      sumTo(g, select(g, condition, zero, dy!), b.shape),
    ];
  },
  negate: (g, _, [dy]) => [negate(g, dy!)],
  exponential: (g, { outputs: [y] }, [dy]) => [multiply(g, dy!, y)],
  logarithm: (g, { inputs: [x] }, [dy]) => [divide(g, dy!, x)],
  squareRoot: (g, { outputs: [y] }, [dy]) => [divide(g, dy!, add(g, y, y))],
  sigmoid: (g, { outputs: [y] }, [dy]) => [multiply(g, multiply(g, dy!, y), subtract(g, fill(g, [], 1), y))],
  cast: (_, { inputs: [x], params }, [dy]) => [x.dtype === 'float32' && params.dtype === 'float32' ? dy : undefined],

  fill: () => [],
  reshape: (g, { inputs: [x] }, [dy]) => [reshape(g, dy!, x.shape)],
  transpose: (g, { params: { permutation } }, [dy]) => [
    transpose(
      g,
      dy!,
      permutation.map((_, axis) => permutation.indexOf(axis)),
    ),
  ],
  concat: (g, { inputs, params: { axis } }, [dy]) => {
    let start = 0;
    return inputs.map((x) => {
      const end = start + x.shape[axis];
      const part = slice(g, dy!, { axis, start, end });
      start = end;
      return part;
    });
  },
  slice: (g, { inputs: [x], params: { axis, start, end } }, [dy]) => {
    const zeros = (extent: number) =>
      fill(
        g,
        x.shape.map((n, at) => (at === axis ? extent : n)),
        0,
      );
    const parts = [zeros(start), dy!, zeros(x.shape[axis] - end)].filter((part) => part.shape[axis] > 0);
    return [parts.length === 1 ? parts[0] : g.apply('concat', parts, { axis })[0]];
  },
  broadcast: (g, { inputs: [x] }, [dy]) => [sumTo(g, dy!, x.shape)],
  after: (_, __, [dy]) => [dy, undefined],
  detach: () => [undefined],

  reduceSum: (g, { inputs: [x], params: { axes } }, [dy]) => [
    broadcast(
      g,
      reshape(
        g,
        dy!,
        x.shape.map((n, axis) => (axes.includes(axis) ? 1 : n)),
      ),
      x.shape,
    ),
  ],
  reduceMax: (g, { inputs: [x], outputs: [y], params: { axes } }, [dy]) => {
    const kept = x.shape.map((n, axis) => (axes.includes(axis) ? 1 : n));
    const hit = indicator(g, reshape(g, y, kept), x);
    return [divide(g, multiply(g, reshape(g, dy!, kept), hit), reduceSum(g, hit, axes, true))];
  },
  matmul: matmulVjp,
  softmax: (g, { outputs: [p] }, [dy]) => {
    const last = p.shape.length - 1;
    return [multiply(g, subtract(g, dy!, reduceSum(g, multiply(g, dy!, p), [last], true)), p)];
  },
  logSoftmax: (g, { outputs: [y] }, [dy]) => {
    const last = y.shape.length - 1;
    return [subtract(g, dy!, multiply(g, exponential(g, y), reduceSum(g, dy!, [last], true)))];
  },
  cumulativeSum: (g, _, [dy]) => {
    const total = reduceSum(g, dy!, [dy!.shape.length - 1], true);
    return [add(g, subtract(g, total, cumulativeSum(g, dy!)), dy!)];
  },

  gatherRows: (_, { inputs: [, ids] }, [dy]) => [{ ids, rows: dy! }, undefined],
  scatterAddRows: (g, { inputs: [, ids] }, [dy]) => [dy, undefined, gatherRows(g, dy!, ids)],
  gatherElements: { none: 'its gradient is a scatter that adds; write the loss with headLoss instead' },
  scatterElements: { none: 'it serves samplers, which no loss passes through' },
  topK: { none: 'it serves samplers, which no loss passes through' },
  argMax: integerResult,

  linear: (g, { inputs: [x, weight, bias] }, [dy], wanted) => [
    wanted[0] ? g.apply('linearInputGradient', [dy!, weight], {})[0] : undefined,
    wanted[1] ? g.apply('linearWeightGradient', [dy!, x], {})[0] : undefined,
    ...(bias === undefined ? [] : [wanted[2] ? reduceSum(g, dy!, [0]) : undefined]),
  ],
  linearInputGradient: (g, { inputs: [dy, weight] }, [ct]) => [
    linear(g, ct!, weight),
    g.apply('linearWeightGradient', [dy, ct!], {})[0],
  ],
  linearWeightGradient: (g, { inputs: [dy, x] }, [ct]) => [
    linear(g, x, ct!),
    g.apply('linearInputGradient', [dy, ct!], {})[0],
  ],
  rmsNorm: (g, { inputs: [x, gain], outputs: [, r] }, [dy]) => g.apply('rmsNormBackward', [x, gain, r, dy!], {}),
  rmsNormBackward: secondOrder,
  rmsNormTangent: secondOrder,
  swiglu: (g, { inputs: [gate, up] }, [dy]) => g.apply('swigluBackward', [gate, up, dy!], {}),
  swigluBackward: secondOrder,
  swigluTangent: secondOrder,
  rotary: (g, { inputs: [, positions, cos, sin], params: { inverse } }, [dy]) => [
    rotary(g, dy!, { positions, cos, sin }, !inverse),
    undefined,
    undefined,
    undefined,
  ],
  attention: (g, { inputs: [q, k, v], outputs: [o], params }, [dy]) =>
    g.apply('attentionBackward', [q, k, v, o, dy!], params),
  attentionBackward: secondOrder,
  attentionTangent: secondOrder,
  cachedAttention: { none: 'it serves decoding; train through `attention`' },
  cachedAttentionTangent: secondOrder,
  headLoss: (g, { inputs: [x, weight, targets, weights], outputs: [, nll] }, [dLoss, dNll], wanted) => {
    const parts = [dLoss === undefined ? undefined : multiply(g, weights, dLoss), dNll].filter(
      (part) => part !== undefined,
    );
    const effective = parts.length === 1 ? parts[0] : add(g, parts[0], parts[1]);
    const [dx, dw] = g.apply('headLossBackward', [x, weight, targets, effective], {});
    return [dx, dw, undefined, wanted[3] && dLoss !== undefined ? multiply(g, nll, dLoss) : undefined];
  },
  headLossBackward: secondOrder,
  adamw: { none: 'it is an update, not a part of a loss' },
};
