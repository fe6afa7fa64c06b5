/** The distribution a token is drawn from, as numbers. The sampler computes the same in its graph. */
import { type SamplerSettings, samplerSchema } from '../../inference/samplers/settings.js';
import { invariant } from '../../support/errors.js';

/** Settings of the sampler that are left out have their defaults; at temperature 0 all mass is on the teacher's likeliest token. */
export interface DistributionOptions extends Partial<SamplerSettings> {
  /** Weight of Δ, which is that of the un-normalised gradient. */
  readonly lambda: number;
  /** When λΔ is added: after temperature and cuts (default), or before them. */
  readonly order?: 'paper' | 'reference-code';
  /** Ids that a repetition penalty is about. */
  readonly seen?: readonly number[];
  /** Ids that name a token; others are never sampled. Default: all. */
  readonly isNamed?: ((id: number) => boolean) | undefined;
}

const EXCLUDED = Number.NEGATIVE_INFINITY;

/**
 * softmax(cut((1/τ)·z) + λ·Δ) over the rows of the teacher's embedding, or softmax(cut((z + λ·Δ)/τ)) in the order of the reference
 * code; cut leaves out what top-k, top-p and min-p exclude, in this order. z are the teacher's logits; Δ is 0 where the proxy's
 * embedding has no such row. Sums to 1.
 * @see arXiv 2504.13146, equation 11
 */
export function samplingDistribution(
  logits: Float32Array,
  delta: Float32Array | undefined,
  { lambda, order = 'paper', seen = [], isNamed = () => true, ...settings }: DistributionOptions,
): number[] {
  const sampler = samplerSchema.parse(settings);
  const { temperature, repetitionPenalty } = sampler;
  const tilt = (values: number[]) => values.map((value, id) => value + lambda * (delta?.[id] ?? 0));
  let scores = Array.from(logits, (value, id) => (isNamed(id) ? value : EXCLUDED));
  for (const id of new Set(seen)) {
    scores[id] = scores[id] > 0 ? scores[id] / repetitionPenalty : scores[id] * repetitionPenalty;
  }
  if (temperature === 0) {
    const likeliest = scores.indexOf(highestOf(scores));
    return scores.map((_, id) => (id === likeliest ? 1 : 0));
  }
  if (order === 'reference-code') scores = tilt(scores);
  scores = cutSupport(
    scores.map((value) => value / temperature),
    sampler,
  );
  return softmax(order === 'paper' ? tilt(scores) : scores);
}

/** Scores with what top-k, then top-p, then min-p leave out at −∞; of equal scores all stay or none. */
function cutSupport(scores: readonly number[], { topK, topP, minP }: SamplerSettings): number[] {
  const keep = (values: readonly number[], measured: readonly number[], threshold: number) =>
    values.map((value, id) => (measured[id] >= threshold ? value : EXCLUDED));
  let kept = [...scores];
  if (topK > 0) {
    const sorted = [...kept].sort(descending);
    kept = keep(kept, kept, sorted[Math.min(topK, sorted.length) - 1]);
  }
  if (topP < 1) {
    const masses = softmax(kept);
    const sorted = [...masses].sort(descending);
    let sum = 0;
    const last = sorted.findIndex((mass) => {
      sum += mass;
      return sum >= topP;
    });
    kept = keep(kept, masses, sorted.at(last)!);
  }
  if (minP > 0) kept = keep(kept, kept, highestOf(kept) + Math.log(minP));
  return kept;
}

const descending = (a: number, b: number): number => b - a;

const highestOf = (values: readonly number[]): number =>
  values.reduce((most, value) => Math.max(most, value), EXCLUDED);

function softmax(scores: readonly number[]): number[] {
  const highest = highestOf(scores);
  invariant(Number.isFinite(highest), 'no token has a finite score');
  const masses = scores.map((value) => Math.exp(value - highest));
  const total = masses.reduce((sum, mass) => sum + mass, 0);
  return masses.map((mass) => mass / total);
}
