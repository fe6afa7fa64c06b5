/** One function an op: the vocabulary in which models and differentiation rules are written. */
import type { GraphBuilder } from './builder.js';
import { sameShape } from './shape-rules.js';
import type { Dtype, Shape, Value } from './types.js';

const none = {};

export const add = (g: GraphBuilder, a: Value, b: Value): Value => g.apply('add', [a, b], none)[0];
export const subtract = (g: GraphBuilder, a: Value, b: Value): Value => g.apply('subtract', [a, b], none)[0];
export const multiply = (g: GraphBuilder, a: Value, b: Value): Value => g.apply('multiply', [a, b], none)[0];
export const divide = (g: GraphBuilder, a: Value, b: Value): Value => g.apply('divide', [a, b], none)[0];
export const minimum = (g: GraphBuilder, a: Value, b: Value): Value => g.apply('minimum', [a, b], none)[0];
export const maximum = (g: GraphBuilder, a: Value, b: Value): Value => g.apply('maximum', [a, b], none)[0];
export const lessOrEqual = (g: GraphBuilder, a: Value, b: Value): Value => g.apply('lessOrEqual', [a, b], none)[0];
export const select = (g: GraphBuilder, condition: Value, a: Value, b: Value): Value =>
  g.apply('select', [condition, a, b], none)[0];
export const negate = (g: GraphBuilder, x: Value): Value => g.apply('negate', [x], none)[0];
export const exponential = (g: GraphBuilder, x: Value): Value => g.apply('exponential', [x], none)[0];
export const logarithm = (g: GraphBuilder, x: Value): Value => g.apply('logarithm', [x], none)[0];
export const squareRoot = (g: GraphBuilder, x: Value): Value => g.apply('squareRoot', [x], none)[0];
export const sigmoid = (g: GraphBuilder, x: Value): Value => g.apply('sigmoid', [x], none)[0];
export const cast = (g: GraphBuilder, x: Value, dtype: Dtype): Value =>
  x.dtype === dtype ? x : g.apply('cast', [x], { dtype })[0];

export const scalar = (g: GraphBuilder, value: number): Value => g.constant('float32', [], Float32Array.of(value));
export const fill = (g: GraphBuilder, shape: Shape, value: number): Value => g.apply('fill', [], { shape, value })[0];
export const reshape = (g: GraphBuilder, x: Value, shape: Shape): Value =>
  sameShape(x.shape, shape) ? x : g.apply('reshape', [x], { shape })[0];
export const transpose = (g: GraphBuilder, x: Value, permutation: readonly number[]): Value =>
  g.apply('transpose', [x], { permutation })[0];
export const concat = (g: GraphBuilder, parts: readonly Value[], axis: number): Value =>
  parts.length === 1 ? parts[0] : g.apply('concat', parts, { axis })[0];
export const slice = (g: GraphBuilder, x: Value, range: { axis: number; start: number; end: number }): Value =>
  g.apply('slice', [x], range)[0];
export const broadcast = (g: GraphBuilder, x: Value, shape: Shape): Value =>
  sameShape(x.shape, shape) ? x : g.apply('broadcast', [x], { shape })[0];
export const after = (g: GraphBuilder, x: Value, token: Value): Value => g.apply('after', [x, token], none)[0];
export const detach = (g: GraphBuilder, x: Value): Value => g.apply('detach', [x], none)[0];

export const reduceSum = (g: GraphBuilder, x: Value, axes: readonly number[], keepDims = false): Value =>
  axes.length === 0 ? x : g.apply('reduceSum', [x], { axes, keepDims })[0];
export const reduceMax = (g: GraphBuilder, x: Value, axes: readonly number[], keepDims = false): Value =>
  g.apply('reduceMax', [x], { axes, keepDims })[0];
export const matmul = (
  g: GraphBuilder,
  a: Value,
  b: Value,
  options: { transposeA?: boolean; transposeB?: boolean; alpha?: number } = {},
): Value => g.apply('matmul', [a, b], { transposeA: false, transposeB: false, alpha: 1, ...options })[0];
export const softmax = (g: GraphBuilder, x: Value): Value => g.apply('softmax', [x], none)[0];
export const logSoftmax = (g: GraphBuilder, x: Value): Value => g.apply('logSoftmax', [x], none)[0];
export const cumulativeSum = (g: GraphBuilder, x: Value): Value => g.apply('cumulativeSum', [x], none)[0];

export const gatherRows = (g: GraphBuilder, table: Value, ids: Value): Value =>
  g.apply('gatherRows', [table, ids], none)[0];
export const scatterAddRows = (g: GraphBuilder, base: Value, ids: Value, rows: Value): Value =>
  g.apply('scatterAddRows', [base, ids, rows], none)[0];
export const gatherElements = (g: GraphBuilder, x: Value, ids: Value): Value =>
  g.apply('gatherElements', [x, ids], none)[0];
export const scatterElements = (g: GraphBuilder, x: Value, ids: Value, values: Value): Value =>
  g.apply('scatterElements', [x, ids, values], none)[0];
export const topK = (g: GraphBuilder, x: Value, k: number): { values: Value; ids: Value } => {
  const [values, ids] = g.apply('topK', [x], { k });
  return { values, ids };
};
export const argMax = (g: GraphBuilder, x: Value): Value => g.apply('argMax', [x], none)[0];

export const linear = (g: GraphBuilder, x: Value, weight: Value, bias?: Value): Value =>
  g.apply('linear', bias === undefined ? [x, weight] : [x, weight, bias], none)[0];
export const rmsNorm = (g: GraphBuilder, x: Value, gain: Value, epsilon: number): Value =>
  g.apply('rmsNorm', [x, gain], { epsilon })[0];
export const swiglu = (g: GraphBuilder, gate: Value, up: Value): Value => g.apply('swiglu', [gate, up], none)[0];
export const rotary = (
  g: GraphBuilder,
  x: Value,
  angles: { positions: Value; cos: Value; sin: Value },
  inverse = false,
): Value => g.apply('rotary', [x, angles.positions, angles.cos, angles.sin], { inverse })[0];
export const attention = (g: GraphBuilder, q: Value, k: Value, v: Value, scale: number): Value =>
  g.apply('attention', [q, k, v], { scale })[0];
export const headLoss = (
  g: GraphBuilder,
  x: Value,
  weight: Value,
  labels: { targets: Value; weights: Value },
): { loss: Value; nll: Value } => {
  const [loss, nll] = g.apply('headLoss', [x, weight, labels.targets, labels.weights], none);
  return { loss, nll };
};
