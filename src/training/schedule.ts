/** Learning rate over the steps of a run. */

export type ScheduleKind = 'constant' | 'linear' | 'cosine';

export interface Schedule {
  readonly kind: ScheduleKind;
  /** Highest rate, reached when the warm-up ends. */
  readonly learningRate: number;
  readonly warmupSteps: number;
  readonly totalSteps: number;
  /** Share of the highest rate that is left at the last step; the constant schedule keeps all. */
  readonly finalFraction: number;
}

/**
 * Rate of step s = 1 … totalSteps. Warm-up: peak·s/w for s ≤ w. Then, with u = (s − w)/(total − w) from 0 to 1: constant peak;
 * linear peak·(1 − (1 − f)·u); cosine peak·(f + (1 − f)·(1 + cos πu)/2), f the final fraction.
 */
export function learningRateAt(schedule: Schedule, step: number): number {
  const { kind, learningRate, warmupSteps, totalSteps, finalFraction } = schedule;
  if (step <= warmupSteps) return (learningRate * step) / warmupSteps;
  if (kind === 'constant') return learningRate;
  const progress = Math.min(1, (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps));
  const left = kind === 'linear' ? 1 - progress : (1 + Math.cos(Math.PI * progress)) / 2;
  return learningRate * (finalFraction + (1 - finalFraction) * left);
}
