/** How strong a tilt must be: λ is not portable (it scales with ‖g‖, the model and τ), a budget of nats is. */
import { DataError, OverflowError } from '../../support/errors.js';

export interface StrengthSearch {
  /** The value wanted, such as nats a token; above 0. */
  readonly target: number;
  /** λ tried first. */
  readonly initial: number;
  /** Relative distance from the target at which the search ends; default 0.03. */
  readonly tolerance?: number;
  /** Default 40. */
  readonly maxMeasurements?: number;
  /**
   * Where the measure does not take the target's value: an error (default), or the best there is. That is the λ with the greatest
   * value where it stops growing short of the target, which is as much as the support allows; and the nearer of two neighbours
   * where it leaps over the target, as it does on few prompts.
   */
  readonly outOfReach?: 'refuse' | 'bound';
}

interface Measurement {
  readonly lambda: number;
  readonly value: number;
}

export interface Strength extends Measurement {
  /** False where `value` is the bound of the measure and not the target. */
  readonly isReached: boolean;
  readonly measurements: readonly Measurement[];
}

/** Factor by which λ first moves; each further stride in the same direction is longer by as much. */
const STRIDE = 4;
/** Neighbours closer than this factor are told apart by chance alone. */
const CLOSE = 1.02;
/** A stride that gains less than this shows that the measure has stopped growing. */
const LEAST_GROWTH = 1.02;
/** Share of the target below which a measure may stand still for rounding. */
const NOTICED = 0.01;

/**
 * Solves measure(λ) = target for a measure that grows with λ: growing strides until the target is bracketed, then interpolation of
 * log value over log λ. Errors: DataError where the target is not reached (a distribution cannot move further than its support
 * lets it).
 */
export async function solveStrength(
  measure: (lambda: number) => Promise<number>,
  { target, initial, tolerance = 0.03, maxMeasurements = 40, outOfReach = 'refuse' }: StrengthSearch,
): Promise<Strength> {
  const measurements: Measurement[] = [];
  let below: Measurement | undefined;
  let above: Measurement | undefined;
  let lambda = initial;
  let stride = 1;
  while (measurements.length < maxMeasurements) {
    const measured = { lambda, value: await unlessOverflow(measure(lambda), Number.NaN) };
    const { value } = measured;
    measurements.push(measured);
    if (Math.abs(value - target) <= tolerance * target) return { lambda, value, measurements, isReached: true };
    const isNoticed = below !== undefined && below.value > NOTICED * target;
    const isSaturated = isNoticed && above === undefined && value < below!.value * LEAST_GROWTH;
    if (!Number.isFinite(value) || isSaturated) break;
    if (value < target) below = measured;
    else above = measured;
    stride *= STRIDE;
    if (below === undefined) lambda /= stride;
    else if (above === undefined) lambda *= stride;
    else lambda = between(below, above, target);
    const closest = outOfReach === 'bound' ? CLOSE : 1 + 1e-4;
    if (!Number.isFinite(lambda) || (below && above && above.lambda / below.lambda < closest)) break;
  }
  // Short of the target however strong the tilt: its last value before the end is the bound.
  if (outOfReach === 'bound' && below !== undefined && above === undefined) {
    const strongest = measurements.reduce((a, b) => (b.value > a.value ? b : a), below);
    return { ...strongest, measurements, isReached: false };
  }
  const known = measurements.filter(({ value }) => Number.isFinite(value));
  const nearest = known.reduce((a, b) => (Math.abs(b.value - target) < Math.abs(a.value - target) ? b : a), known[0]);
  if (outOfReach === 'bound' && below !== undefined && above !== undefined) {
    const isAboveNearer = above.value - target < target - below.value;
    return { ...(isAboveNearer ? above : below), measurements, isReached: true };
  }
  throw new DataError(
    `No strength gives ${target}: the nearest of ${measurements.length} tried, λ = ${nearest?.lambda.toPrecision(3)}, gives ` +
      `${nearest?.value.toPrecision(3)}. Ask for less, or use more calibration prompts.`,
  );
}

/** What a tilt measures, or `instead` where it is stronger than float32 can compute. */
export async function unlessOverflow<T>(measured: Promise<T>, instead: T): Promise<T> {
  try {
    return await measured;
  } catch (error) {
    if (error instanceof OverflowError) return instead;
    throw error;
  }
}

/** λ at which log value, linear in log λ between two measurements, meets the target; never within a tenth of an end. */
function between(below: Measurement, above: Measurement, target: number): number {
  const rise = Math.log(above.value) - Math.log(below.value);
  const share = rise > 0 && below.value > 0 ? (Math.log(target) - Math.log(below.value)) / rise : 0.5;
  return below.lambda * (above.lambda / below.lambda) ** Math.min(0.9, Math.max(0.1, share));
}
