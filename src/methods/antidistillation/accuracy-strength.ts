/** How strong a tilt may be for what the teacher may lose: bisection over λ of a measure that is noisy and comes in steps. */
import { DataError } from '../../support/errors.js';
import { unlessOverflow } from './strength.js';

export interface AccuracySearch {
  /** Accuracy that may be lost, in 0–1; above 0. */
  readonly target: number;
  /** λ tried first. */
  readonly initial: number;
  /** Distance from the target at which the search ends, in 0–1; default half a point. */
  readonly tolerance?: number;
  /** Default 16. */
  readonly maxMeasurements?: number;
}

export interface AccuracyMeasurement {
  readonly lambda: number;
  /** Accuracy without a tilt less accuracy with it, on the same questions and random numbers; below 0 where chance has it so. */
  readonly loss: number;
  /** Mean KL(tilted ‖ untilted) a token, which shows where a tilt has reached the end of its support. */
  readonly nats: number;
}

export interface AccuracyStrength extends AccuracyMeasurement {
  /** False where no tilt loses as much: `loss` is then that of the strongest tried. */
  readonly isReached: boolean;
  readonly measurements: readonly AccuracyMeasurement[];
}

/** Factor by which λ moves until the target lies between two measurements. */
const STRIDE = 3;
/** Below this divergence a tilt is too weak to change answers; it grows as λ², so one stride can go straight to it. */
const NOTICEABLE_NATS = 0.02;
/** Longest stride so taken. */
const LONGEST_STRIDE = 1e4;
/** A stride that moves the distribution by less than this share further shows that the support has no more to give. */
const LEAST_GROWTH = 1.02;
/** Two λ closer than this factor differ by less than the noise of any number of questions. */
const CLOSE = 1.08;

/**
 * Finds λ with loss(λ) = target where the loss grows with λ but for noise: strides until the target is bracketed, then the geometric
 * middle. Ends within `tolerance`, where the bracket is as narrow as noise allows (the nearer end, the weaker where both are as
 * near), or at the bound of the support. Errors: DataError where a measurement is no number.
 */
export async function solveAccuracyLoss(
  measure: (lambda: number) => Promise<Omit<AccuracyMeasurement, 'lambda'>>,
  { target, initial, tolerance = 0.005, maxMeasurements = 16 }: AccuracySearch,
): Promise<AccuracyStrength> {
  const measurements: AccuracyMeasurement[] = [];
  let below: AccuracyMeasurement | undefined;
  let above: AccuracyMeasurement | undefined;
  let lambda = initial;
  while (measurements.length < maxMeasurements) {
    const measured = { lambda, ...(await unlessOverflow(measure(lambda), { loss: Number.NaN, nats: Number.NaN })) };
    const { loss, nats } = measured;
    measurements.push(measured);
    if (!Number.isFinite(loss) || !Number.isFinite(nats)) {
      throw new DataError(
        `λ = ${lambda.toPrecision(3)} gives no measurable distribution. Check the proxy and its gradient.`,
      );
    }
    if (Math.abs(loss - target) <= tolerance) return { ...measured, measurements, isReached: true };
    const isExhausted = below !== undefined && above === undefined && nats < below.nats * LEAST_GROWTH;
    if (loss < target) below = measured;
    else above = measured;
    if (isExhausted && above === undefined) break;
    if (below !== undefined && above !== undefined && above.lambda / below.lambda < CLOSE) break;
    lambda = nextLambda(measured, below, above);
  }
  const isReached = above !== undefined;
  const [weaker, stronger] = [below ?? above!, above ?? below!];
  const nearest = isReached && stronger.loss - target < target - weaker.loss ? stronger : weaker;
  return { ...nearest, measurements, isReached };
}

function nextLambda(
  { lambda, nats }: AccuracyMeasurement,
  below: AccuracyMeasurement | undefined,
  above: AccuracyMeasurement | undefined,
): number {
  if (below !== undefined && above !== undefined) return Math.sqrt(below.lambda * above.lambda);
  if (below === undefined) return lambda / STRIDE;
  const toNoticeable = Math.sqrt(NOTICEABLE_NATS / Math.max(nats, Number.MIN_VALUE));
  return lambda * Math.min(LONGEST_STRIDE, Math.max(STRIDE, toNoticeable));
}
