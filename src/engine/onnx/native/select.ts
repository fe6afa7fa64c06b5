/** The largest numbers of a row, in order, and what is left above a bound (kernels/float_select_each.c). */
import { sameShape } from '../../graph/shape-rules.js';
import type { Node } from '../../graph/types.js';
import type { Emitter } from '../emitter.js';
import type { NativeLoweringTable } from './lowering.js';
import { optional } from './products.js';
import { vocabularyLowerings } from './vocabulary.js';

function lowerTopK(e: Emitter, { inputs: [x], outputs, params: { k } }: Node<'topK'>): boolean {
  if (!e.options.kernels.has('FloatTopK') || x.shape.length !== 2) return false;
  const made = outputs.map(({ dtype, shape }) => optional({ type: dtype, shape }));
  const names = e.native('FloatTopK', [e.nameOf(x)], { count: { int: k } }, made);
  outputs.forEach((value, index) => void e.bind(value, names[index]));
  return true;
}

/** select(least ≤ scores, x, a constant) with a bound for each row: of probabilities (top-p), of the logits themselves (top-k). */
function lowerKeep(e: Emitter, { inputs: [kept, x, otherwise], outputs: [y] }: Node<'select'>): boolean {
  const comparison = e.view.producerOf(kept);
  const floor = e.view.constantOf(otherwise);
  if (comparison?.kind !== 'lessOrEqual' || floor === undefined || !e.options.kernels.has('FloatKeep')) return false;
  const [least, scores] = comparison.inputs;
  const isRowwise = x.shape.length === 2 && sameShape(least.shape, [x.shape[0], 1]);
  const isFloat = [least, x].every(({ dtype }) => dtype === 'float32');
  if (!isRowwise || !isFloat || !sameShape(scores.shape, x.shape) || !sameShape(y.shape, x.shape)) return false;
  const inputs = [scores, least, x].map((value) => e.nameOf(value));
  const output = { type: 'float32', shape: x.shape } as const;
  e.bind(y, e.native('FloatKeep', inputs, { otherwise: { float: floor } }, [output])[0]);
  return true;
}

export const selectLowerings = {
  topK: [lowerTopK],
  select: [...vocabularyLowerings.select, lowerKeep],
} satisfies NativeLoweringTable;
