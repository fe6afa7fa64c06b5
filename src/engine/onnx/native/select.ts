/** The largest numbers of a row, in order (kernels/float_select_each.c). */
import type { Node } from '../../graph/types.js';
import type { Emitter } from '../emitter.js';
import type { NativeLoweringTable } from './lowering.js';
import { optional } from './products.js';

function lowerTopK(e: Emitter, { inputs: [x], outputs, params: { k } }: Node<'topK'>): boolean {
  if (!e.options.kernels.has('FloatTopK') || x.shape.length !== 2) return false;
  const made = outputs.map(({ dtype, shape }) => optional({ type: dtype, shape }));
  const names = e.native('FloatTopK', [e.nameOf(x)], { count: { int: k } }, made);
  outputs.forEach((value, index) => void e.bind(value, names[index]));
  return true;
}

export const selectLowerings = { topK: [lowerTopK] } satisfies NativeLoweringTable;
