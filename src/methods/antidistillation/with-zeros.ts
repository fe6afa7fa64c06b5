/** Δ of tokens that teacher and proxy do not share. */
import type { GraphBuilder } from '../../engine/graph/builder.js';
import { multiply } from '../../engine/graph/ops.js';
import type { Value } from '../../engine/graph/types.js';

/** [n, V] → [n, V] with 0 in the columns of `ids`; those beyond V are left out. */
export function withZeros(g: GraphBuilder, numbers: Value, ids: readonly number[]): Value {
  const width = numbers.shape[1];
  const known = ids.filter((id) => id < width);
  if (known.length === 0) return numbers;
  const factors = new Float32Array(width).fill(1);
  for (const id of known) factors[id] = 0;
  return multiply(g, numbers, g.constant('float32', [1, width], factors));
}
