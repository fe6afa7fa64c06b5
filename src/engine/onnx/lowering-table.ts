/**
 * For each op, the ONNX nodes that compute it: a composite of standard nodes and of those the runtime ships. A second table
 * of native kernels can stand before this one without models or differentiation rules knowing.
 */
import type { OpKind } from '../graph/catalogue.js';
import type { Dtype, Node } from '../graph/types.js';
import type { Emitter, Name } from './emitter.js';
import { lowerAdamw } from './lowerings/adamw.js';
import { lowerAttention, lowerAttentionBackward, lowerAttentionTangent } from './lowerings/attention.js';
import { lowerCachedAttention, lowerCachedAttentionTangent } from './lowerings/cached-attention.js';
import {
  lowerHeadLoss,
  lowerHeadLossBackward,
  lowerLinear,
  lowerRmsNorm,
  lowerRmsNormBackward,
  lowerRmsNormTangent,
  lowerRotary,
  lowerSwiglu,
  lowerSwigluBackward,
  lowerSwigluTangent,
} from './lowerings/layers.js';
import {
  add,
  cast,
  gather,
  mul,
  product,
  reshape,
  scatterAddRows,
  softmax,
  transpose,
} from './lowerings/primitives.js';

/** Gives the names of the node's outputs, in order. */
export type Lowering<K extends OpKind> = (e: Emitter, node: Node<K>) => readonly Name[];

const names = (e: Emitter, node: Node): Name[] => node.inputs.map((value) => e.nameOf(value));

/** An op that is one ONNX node of another name. */
const single =
  (op: string) =>
  (e: Emitter, node: Node): readonly Name[] =>
    e.node(op, names(e, node));

const reduction =
  (op: string) =>
  (e: Emitter, node: Node<'reduceSum' | 'reduceMax'>): readonly Name[] =>
    e.node(op, [e.nameOf(node.inputs[0]), e.ints(node.params.axes)], {
      keepdims: { int: node.params.keepDims ? 1 : 0 },
    });

const ELEMENT_TYPES: Record<Dtype, number> = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9, bfloat16: 16 };

export const loweringTable: { readonly [K in OpKind]: Lowering<K> } = {
  add: single('Add'),
  subtract: single('Sub'),
  multiply: single('Mul'),
  divide: single('Div'),
  minimum: single('Min'),
  maximum: single('Max'),
  lessOrEqual: single('LessOrEqual'),
  select: single('Where'),
  negate: single('Neg'),
  exponential: single('Exp'),
  logarithm: single('Log'),
  squareRoot: single('Sqrt'),
  sigmoid: single('Sigmoid'),
  cast: (e, node) => [cast(e, e.nameOf(node.inputs[0]), ELEMENT_TYPES[node.params.dtype])],

  fill: (e, { params: { shape, value } }) =>
    shape.length === 0 ? [e.scalar(value)] : e.node('Expand', [e.scalar(value), e.ints(shape)]),
  reshape: (e, node) => [reshape(e, e.nameOf(node.inputs[0]), node.params.shape)],
  transpose: (e, node) => [transpose(e, e.nameOf(node.inputs[0]), node.params.permutation)],
  concat: (e, node) => e.node('Concat', names(e, node), { axis: { int: node.params.axis } }),
  slice: (e, { inputs: [x], params: { axis, start, end } }) =>
    e.node('Slice', [e.nameOf(x), e.ints([start]), e.ints([end]), e.ints([axis])]),
  broadcast: (e, node) => e.node('Expand', [e.nameOf(node.inputs[0]), e.ints(node.params.shape)]),
  // x + 0·token[0]: the runtime orders nodes by their inputs alone.
  after: (e, { inputs: [x, token] }) => {
    const first = e.node('Slice', [reshape(e, e.nameOf(token), [-1]), e.ints([0]), e.ints([1])])[0];
    return [add(e, e.nameOf(x), mul(e, first, e.scalar(0)))];
  },
  detach: single('Identity'),

  reduceSum: reduction('ReduceSum'),
  reduceMax: reduction('ReduceMax'),
  matmul: (e, node) => {
    const [a, b] = names(e, node);
    return [product(e, a, b, node.params)];
  },
  softmax: (e, node) => [softmax(e, e.nameOf(node.inputs[0]))],
  logSoftmax: (e, node) => e.node('LogSoftmax', names(e, node), { axis: { int: -1 } }),
  cumulativeSum: (e, { inputs: [x] }) => e.node('CumSum', [e.nameOf(x), e.ints([x.shape.length - 1])]),

  gatherRows: (e, { inputs: [table, ids] }) => [gather(e, e.nameOf(table), e.nameOf(ids))],
  scatterAddRows: (e, node) => {
    const [base, ids, rows] = names(e, node);
    return [scatterAddRows(e, base, { ids, rows, shape: node.inputs[2].shape })];
  },
  gatherElements: (e, node) => e.node('GatherElements', names(e, node), { axis: { int: 1 } }),
  scatterElements: (e, node) => e.node('ScatterElements', names(e, node), { axis: { int: 1 } }),
  topK: (e, node) => e.node('TopK', [e.nameOf(node.inputs[0]), e.ints([node.params.k])], { axis: { int: -1 } }, 2),
  argMax: (e, node) => e.node('ArgMax', names(e, node), { axis: { int: 1 }, keepdims: { int: 0 } }),

  linear: lowerLinear,
  linearInputGradient: (e, node) => {
    const [dy, weight] = names(e, node);
    return [product(e, dy, weight)];
  },
  linearWeightGradient: (e, node) => {
    const [dy, x] = names(e, node);
    return [product(e, dy, x, { transposeA: true })];
  },
  rmsNorm: lowerRmsNorm,
  rmsNormBackward: lowerRmsNormBackward,
  rmsNormTangent: lowerRmsNormTangent,
  swiglu: lowerSwiglu,
  swigluBackward: lowerSwigluBackward,
  swigluTangent: lowerSwigluTangent,
  rotary: lowerRotary,
  attention: lowerAttention,
  attentionBackward: lowerAttentionBackward,
  attentionTangent: lowerAttentionTangent,
  cachedAttention: lowerCachedAttention,
  cachedAttentionTangent: lowerCachedAttentionTangent,
  headLoss: lowerHeadLoss,
  headLossBackward: lowerHeadLossBackward,
  adamw: lowerAdamw,
};
