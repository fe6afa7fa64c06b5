/**
 * Forward mode: for each op, the tangents of its outputs from those of its inputs. A missing tangent is a zero. An op without
 * a rule carries the reason.
 */
import type { GraphBuilder } from '../graph/builder.js';
import type { OpKind } from '../graph/catalogue.js';
import {
  add,
  broadcast,
  cumulativeSum,
  divide,
  exponential,
  fill,
  gatherElements,
  gatherRows,
  lessOrEqual,
  linear,
  matmul,
  multiply,
  negate,
  reduceSum,
  reshape,
  rotary,
  scatterAddRows,
  scatterElements,
  select,
  slice,
  softmax,
  subtract,
  transpose,
} from '../graph/ops.js';
import type { Node, Value } from '../graph/types.js';
import { integerResult, type NoRule, secondOrder } from './vjp-rules.js';

type Tangent = Value | undefined;

export type JvpRule<K extends OpKind> = (
  g: GraphBuilder,
  node: Node<K>,
  tangents: readonly Tangent[],
) => readonly Tangent[];

const orZero = (g: GraphBuilder, tangent: Tangent, like: Value): Value => tangent ?? fill(g, like.shape, 0);

/** Sum of the terms that are there. */
function sum(g: GraphBuilder, terms: readonly Tangent[]): Tangent {
  const present = terms.filter((term) => term !== undefined);
  return present.length === 0 ? undefined : present.reduce((a, b) => add(g, a, b));
}

/** Applies a bilinear product to (ta, b) and (a, tb). */
function product(
  g: GraphBuilder,
  operands: readonly Value[],
  [ta, tb]: readonly Tangent[],
  apply: (a: Value, b: Value) => Value,
): readonly Tangent[] {
  const [a, b] = operands;
  return [sum(g, [ta && apply(ta, b), tb && apply(a, tb)])];
}

function chosen(
  g: GraphBuilder,
  node: Node,
  tangents: readonly Tangent[],
  order: readonly [Value, Value],
): readonly Tangent[] {
  const [a, b] = node.inputs;
  return [select(g, lessOrEqual(g, ...order), orZero(g, tangents[0], a), orZero(g, tangents[1], b))];
}

/** Tangent of a sum: it has the sum's (broadcast) shape even where only one operand moves. */
const sumRule: JvpRule<'add'> = (g, { outputs: [y] }, tangents) => [broadcast(g, sum(g, tangents)!, y.shape)];

export const jvpRules: { readonly [K in OpKind]: JvpRule<K> | NoRule } = {
  add: sumRule,
  subtract: (g, node, [ta, tb]) => sumRule(g, node as never, [ta, tb && negate(g, tb)]),
  multiply: (g, { inputs }, tangents) => product(g, inputs, tangents, (a, b) => multiply(g, a, b)),
  divide: (g, { inputs: [, b], outputs: [y] }, [ta, tb]) => {
    const numerator = sum(g, [ta, tb && negate(g, multiply(g, tb, y))]);
    return [numerator && divide(g, numerator, b)];
  },
  minimum: (g, node, tangents) => chosen(g, node, tangents, [node.inputs[0], node.inputs[1]]),
  maximum: (g, node, tangents) => chosen(g, node, tangents, [node.inputs[1], node.inputs[0]]),
  lessOrEqual: { none: 'a comparison is constant almost everywhere' },
  select: (g, { inputs: [condition, a, b] }, [, ta, tb]) => [select(g, condition, orZero(g, ta, a), orZero(g, tb, b))],
  negate: (g, _, [tx]) => [negate(g, tx!)],
  exponential: (g, { outputs: [y] }, [tx]) => [multiply(g, tx!, y)],
  logarithm: (g, { inputs: [x] }, [tx]) => [divide(g, tx!, x)],
  squareRoot: (g, { outputs: [y] }, [tx]) => [divide(g, tx!, add(g, y, y))],
  sigmoid: (g, { outputs: [y] }, [tx]) => [multiply(g, multiply(g, tx!, y), subtract(g, fill(g, [], 1), y))],
  cast: (_, { inputs: [x], params }, [tx]) => [x.dtype === 'float32' && params.dtype === 'float32' ? tx : undefined],

  fill: () => [undefined],
  reshape: (g, { params }, [tx]) => [reshape(g, tx!, params.shape)],
  transpose: (g, { params }, [tx]) => [transpose(g, tx!, params.permutation)],
  concat: (g, { inputs, params }, tangents) =>
    g.apply(
      'concat',
      inputs.map((x, index) => orZero(g, tangents[index], x)),
      params,
    ),
  slice: (g, { params }, [tx]) => [slice(g, tx!, params)],
  broadcast: (g, { params }, [tx]) => [broadcast(g, tx!, params.shape)],
  after: (_, __, [tx]) => [tx],
  detach: () => [undefined],

  reduceSum: (g, { params }, [tx]) => [reduceSum(g, tx!, params.axes, params.keepDims)],
  reduceMax: (g, { inputs: [x], outputs: [y], params: { axes } }, [tx]) => {
    const kept = x.shape.map((n, axis) => (axes.includes(axis) ? 1 : n));
    const hit = g.apply('cast', [lessOrEqual(g, reshape(g, y, kept), x)], { dtype: 'float32' })[0];
    const mean = divide(g, reduceSum(g, multiply(g, tx!, hit), axes, true), reduceSum(g, hit, axes, true));
    return [reshape(g, mean, y.shape)];
  },
  matmul: (g, { inputs, params }, tangents) => product(g, inputs, tangents, (a, b) => matmul(g, a, b, params)),
  softmax: (g, { outputs: [p] }, [tx]) => {
    const weighted = multiply(g, tx!, p);
    return [subtract(g, weighted, multiply(g, p, reduceSum(g, weighted, [p.shape.length - 1], true)))];
  },
  logSoftmax: (g, { outputs: [y] }, [tx]) => {
    const mean = reduceSum(g, multiply(g, exponential(g, y), tx!), [y.shape.length - 1], true);
    return [subtract(g, tx!, mean)];
  },
  cumulativeSum: (g, _, [tx]) => [cumulativeSum(g, tx!)],

  gatherRows: (g, { inputs: [, ids] }, [tTable]) => [tTable && gatherRows(g, tTable, ids)],
  scatterAddRows: (g, { inputs: [base, ids, rows] }, [tBase, , tRows]) => [
    scatterAddRows(g, orZero(g, tBase, base), ids, orZero(g, tRows, rows)),
  ],
  gatherElements: (g, { inputs: [, ids] }, [tx]) => [tx && gatherElements(g, tx, ids)],
  scatterElements: (g, { inputs: [x, ids, values] }, [tx, , tValues]) => [
    scatterElements(g, orZero(g, tx, x), ids, orZero(g, tValues, values)),
  ],
  topK: (g, { outputs: [, ids] }, [tx]) => [gatherElements(g, tx!, ids), undefined],
  argMax: integerResult,

  linear: (g, { inputs: [x, weight], outputs: [y] }, [tx, tWeight, tBias]) => {
    const moved = sum(g, [
      tx && linear(g, tx, weight, tBias),
      tWeight && linear(g, x, tWeight, tx ? undefined : tBias),
    ]);
    return [moved ?? broadcast(g, tBias!, y.shape)];
  },
  linearInputGradient: (g, { inputs }, tangents) =>
    product(g, inputs, tangents, (dy, weight) => g.apply('linearInputGradient', [dy, weight], {})[0]),
  linearWeightGradient: (g, { inputs }, tangents) =>
    product(g, inputs, tangents, (dy, x) => g.apply('linearWeightGradient', [dy, x], {})[0]),
  rmsNorm: (g, { inputs: [x, gain], outputs: [, r] }, [tx, tGain]) => [
    g.apply('rmsNormTangent', [x, gain, r, orZero(g, tx, x), orZero(g, tGain, gain)], {})[0],
    undefined,
  ],
  rmsNormBackward: secondOrder,
  rmsNormTangent: secondOrder,
  swiglu: (g, { inputs: [gate, up] }, [tGate, tUp]) =>
    g.apply('swigluTangent', [gate, up, orZero(g, tGate, gate), orZero(g, tUp, up)], {}),
  swigluBackward: secondOrder,
  swigluTangent: secondOrder,
  rotary: (g, { inputs: [, positions, cos, sin], params: { inverse } }, [tx]) => [
    tx && rotary(g, tx, { positions, cos, sin }, inverse),
  ],
  attention: (g, { inputs: [q, k, v], outputs: [o], params }, [tq, tk, tv]) =>
    g.apply('attentionTangent', [q, k, v, o, orZero(g, tq, q), orZero(g, tk, k), orZero(g, tv, v)], params),
  attentionBackward: secondOrder,
  attentionTangent: secondOrder,
  // A cache of tangents stands beside the cache: both are inputs, so both have a tangent (a zero at first).
  cachedAttention: (
    g,
    { inputs: [q, k, v, cacheK, cacheV, lengths], outputs: [, newK, newV], params },
    [tq, tk, tv, tCacheK, tCacheV],
  ) =>
    g.apply(
      'cachedAttentionTangent',
      [
        q,
        newK,
        newV,
        lengths,
        orZero(g, tq, q),
        orZero(g, tk, k),
        orZero(g, tv, v),
        orZero(g, tCacheK, cacheK),
        orZero(g, tCacheV, cacheV),
      ],
      params,
    ),
  cachedAttentionTangent: secondOrder,
  headLoss: (g, { inputs: [x, weight, targets, weights], outputs: [, nll] }, [tx, tWeight, , tWeights]) => {
    const tLogits = sum(g, [tx && linear(g, tx, weight), tWeight && linear(g, x, tWeight)]);
    const numTokens = targets.shape[0];
    const tNll =
      tLogits &&
      subtract(
        g,
        reduceSum(g, multiply(g, softmax(g, linear(g, x, weight)), tLogits), [1]),
        reshape(g, gatherElements(g, tLogits, reshape(g, targets, [numTokens, 1])), [numTokens]),
      );
    const terms = sum(g, [tNll && multiply(g, weights, tNll), tWeights && multiply(g, tWeights, nll)]);
    return [terms && reduceSum(g, terms, [0]), tNll];
  },
  headLossBackward: secondOrder,
  adamw: { none: 'it is an update, not a function to differentiate' },
};
