/** Discrete distributions over the classes 0–9: what the toy's teacher says, and what its student can say. */
import type { Random } from '../../../support/random.js';

export const NUM_CLASSES = 10;

/** A peak of the teacher: its centre, width (both in classes) and share of the mass. */
export interface Mode {
  readonly center: number;
  readonly width: number;
  readonly weight: number;
}

/** Parameters of the student: one Gaussian. */
export interface Gaussian {
  readonly center: number;
  /** ln of the width: any number is a Gaussian. */
  readonly logWidth: number;
}

/** p(k) ∝ exp(−(k − center)²/(2·width²)), k = 0 … 9. */
export function gaussianProbabilities({ center, logWidth }: Gaussian): number[] {
  const logits = Array.from({ length: NUM_CLASSES }, (_, k) => -((k - center) ** 2) / (2 * Math.exp(2 * logWidth)));
  const top = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(logit - top));
  return normalized(weights);
}

/** Σ weight·p(k) over the modes, each normalised over the classes. */
export function mixtureProbabilities(modes: readonly Mode[]): number[] {
  const parts = modes.map(({ center, width }) => gaussianProbabilities({ center, logWidth: Math.log(width) }));
  return normalized(
    Array.from({ length: NUM_CLASSES }, (_, k) =>
      modes.reduce((sum, { weight }, at) => sum + weight * parts[at][k], 0),
    ),
  );
}

/**
 * ∂ln p(k)/∂center and ∂ln p(k)/∂logWidth of a Gaussian with probabilities p. With the sufficient statistics a(k) = (k − c)/w² and
 * b(k) = (k − c)²/w², they are a(k) − E[a] and b(k) − E[b].
 */
export function logProbabilityGradient(
  gaussian: Gaussian,
  probabilities: readonly number[],
  k: number,
): { readonly center: number; readonly logWidth: number } {
  const variance = Math.exp(2 * gaussian.logWidth);
  const first = (value: number) => (value - gaussian.center) / variance;
  const second = (value: number) => (value - gaussian.center) ** 2 / variance;
  const expectation = (of: (value: number) => number) =>
    probabilities.reduce((sum, probability, at) => sum + probability * of(at), 0);
  return { center: first(k) - expectation(first), logWidth: second(k) - expectation(second) };
}

/** A class drawn from probabilities. */
export function drawClass(probabilities: readonly number[], random: Pick<Random, 'uniform'>): number {
  let left = random.uniform();
  for (let k = 0; k < probabilities.length; k++) {
    left -= probabilities[k];
    if (left < 0) return k;
  }
  return probabilities.length - 1;
}

/** Mass on each mode: every class counts for the mode whose centre is nearest. */
export function massOfModes(probabilities: readonly number[], modes: readonly Mode[]): number[] {
  const masses = modes.map(() => 0);
  probabilities.forEach((probability, k) => {
    const distances = modes.map(({ center }) => Math.abs(k - center));
    masses[distances.indexOf(Math.min(...distances))] += probability;
  });
  return masses;
}

function normalized(weights: readonly number[]): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}
