/** Which kernel computes on weights in the blocks they are stored in. */
import type { Precision } from '../emitter.js';

/**
 * In bfloat16 the one for matrix units (kernels/decode_blocks_amx.c), else one in float32 for every level (kernels/float_blocks_each.c); weights are
 * exact in both. Undefined: none, and weights are needed as float32.
 */
export function blockOpOf(kernels: ReadonlySet<string>, precision: Precision): string | undefined {
  const ops = precision === 'bfloat16' ? ['DecodeBlockGroups', 'FloatBlockGroups'] : ['FloatBlockGroups'];
  return ops.find((op) => kernels.has(op));
}
