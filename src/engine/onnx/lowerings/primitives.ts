/** ONNX nodes by name, for lowerings that need several. */
import type { Shape } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';

export const add = (e: Emitter, a: Name, b: Name): Name => e.node('Add', [a, b])[0];
export const sub = (e: Emitter, a: Name, b: Name): Name => e.node('Sub', [a, b])[0];
export const mul = (e: Emitter, a: Name, b: Name): Name => e.node('Mul', [a, b])[0];
export const div = (e: Emitter, a: Name, b: Name): Name => e.node('Div', [a, b])[0];
export const neg = (e: Emitter, a: Name): Name => e.node('Neg', [a])[0];
export const softmax = (e: Emitter, a: Name): Name => e.node('Softmax', [a], { axis: { int: -1 } })[0];
export const gather = (e: Emitter, table: Name, ids: Name): Name =>
  e.node('Gather', [table, ids], { axis: { int: 0 } })[0];
export const cast = (e: Emitter, a: Name, elementType: number): Name =>
  e.node('Cast', [a], { to: { int: elementType } })[0];

/** ONNX element type of token positions. */
export const INT64 = 7;

export function reshape(e: Emitter, a: Name, shape: Shape): Name {
  return e.node('Reshape', [a, e.ints(shape)])[0];
}

export function transpose(e: Emitter, a: Name, permutation: readonly number[]): Name {
  return e.node('Transpose', [a], { perm: { ints: permutation } })[0];
}

export function sum(e: Emitter, a: Name, axes: readonly number[], keepDims = true): Name {
  return e.node('ReduceSum', [a, e.ints(axes)], { keepdims: { int: keepDims ? 1 : 0 } })[0];
}

/** alpha · op(a)·op(b), where op transposes the last two axes if asked. */
export function product(
  e: Emitter,
  a: Name,
  b: Name,
  { transposeA = false, transposeB = false, alpha = 1 } = {},
): Name {
  if (!transposeA && !transposeB && alpha === 1) return e.node('MatMul', [a, b])[0];
  const attributes = {
    transA: { int: transposeA ? 1 : 0 },
    transB: { int: transposeB ? 1 : 0 },
    alpha: { float: alpha },
  };
  return e.contrib('FusedMatMul', [a, b], attributes)[0];
}

/**
 * base + rows added at ids. ScatterND is the fastest form, but its `add` loses updates of repeated rows on more than one
 * thread; ScatterElements runs in order.
 */
export function scatterAddRows(e: Emitter, base: Name, update: { ids: Name; rows: Name; shape: Shape }): Name {
  const { ids, rows, shape } = update;
  const column = reshape(e, ids, [shape[0], 1]);
  const reduction = { reduction: { text: 'add' } };
  if (e.options.numThreads === 1) return e.node('ScatterND', [base, column, rows], reduction)[0];
  const everywhere = e.node('Expand', [column, e.ints(shape)])[0];
  return e.node('ScatterElements', [base, everywhere, rows], { axis: { int: 0 }, ...reduction })[0];
}
