/** The distribution a token is drawn from, as numbers. The sampler computes the same in its graph. */
import { invariant } from '../../support/errors.js';

export interface DistributionOptions {
  /** τ; 0 is all mass on the teacher's likeliest token. */
  readonly temperature: number;
  /** Weight of Δ, which is that of the un-normalised gradient. */
  readonly lambda: number;
  /** Ids that name a token; others are never sampled. Default: all. */
  readonly isNamed?: ((id: number) => boolean) | undefined;
}

/**
 * softmax((1/τ)·log p + λ·Δ) over the rows of the teacher's embedding; Δ is 0 where the proxy's embedding has no such row.
 * @see arXiv 2504.13146, equation 11
 */
export function samplingDistribution(
  logprobs: Float32Array,
  delta: Float32Array | undefined,
  { temperature, lambda, isNamed = () => true }: DistributionOptions,
): number[] {
  const ids = Array.from(logprobs, (_, id) => id);
  const score = (id: number) => {
    if (!isNamed(id)) return Number.NEGATIVE_INFINITY;
    return temperature === 0 ? logprobs[id] : logprobs[id] / temperature + lambda * (delta?.[id] ?? 0);
  };
  const scores = ids.map(score);
  const highest = scores.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  invariant(Number.isFinite(highest), 'no token has a finite score');
  if (temperature === 0) {
    const likeliest = scores.indexOf(highest);
    return ids.map((id) => (id === likeliest ? 1 : 0));
  }
  const masses = scores.map((value) => Math.exp(value - highest));
  const total = masses.reduce((sum, mass) => sum + mass, 0);
  return masses.map((mass) => mass / total);
}
