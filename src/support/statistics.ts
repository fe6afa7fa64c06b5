import { invariant } from './errors.js';

/** The median of at least one number. */
export function median(values: ArrayLike<number>): number {
  return quantile(values, 0.5);
}

/**
 * The q-quantile (q in 0–1) of at least one number, linear between order statistics: x_(h), h = (n - 1) q.
 * @see Hyndman & Fan 1996, definition 7 (the default of R and NumPy)
 */
export function quantile(values: ArrayLike<number>, q: number): number {
  invariant(values.length > 0 && q >= 0 && q <= 1, `quantile ${q} of ${values.length} values`);
  const sorted = Float64Array.from(values).sort();
  const position = (sorted.length - 1) * q;
  const below = Math.floor(position);
  const above = Math.ceil(position);
  if (sorted[below] === sorted[above]) return sorted[below]; // also two infinities, whose difference is NaN
  return sorted[below] + (sorted[above] - sorted[below]) * (position - below);
}
