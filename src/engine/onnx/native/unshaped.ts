/** Kernels that take extents from attributes read a value without its shape. */
import type { Value } from '../../graph/types.js';
import type { Emitter, Name } from '../emitter.js';

/** The value that this one is, but for its shape. */
export function unshaped(e: Emitter, value: Value): Value {
  const producer = e.view.producerOf(value);
  return producer?.kind === 'reshape' ? unshaped(e, producer.inputs[0]) : value;
}

export const flatName = (e: Emitter, value: Value): Name => e.nameOf(unshaped(e, value));
