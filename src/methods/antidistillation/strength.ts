/** How strong a tilt must be: λ is not portable (it scales with ‖g‖, the model and τ), a budget of nats is. */
import { DataError } from '../../support/errors.js';

export interface StrengthSearch {
  /** The value wanted, such as nats a token; above 0. */
  readonly target: number;
  /** λ tried first. */
  readonly initial: number;
  /** Relative distance from the target at which the search ends; default 0.03. */
  readonly tolerance?: number;
  /** Default 40. */
  readonly maxMeasurements?: number;
}

export interface Strength {
  readonly lambda: number;
  /** What was measured there. */
  readonly value: number;
  readonly measurements: readonly { readonly lambda: number; readonly value: number }[];
}

/** Factor by which λ first moves; each further stride in the same direction is longer by as much. */
const STRIDE = 4;

/**
 * Solves measure(λ) = target for a measure that grows with λ: growing strides until the target is bracketed, then bisection of log λ.
 * Errors: DataError where the target is not reached (a distribution cannot move further than its support lets it).
 */
export async function solveStrength(
  measure: (lambda: number) => Promise<number>,
  { target, initial, tolerance = 0.03, maxMeasurements = 40 }: StrengthSearch,
): Promise<Strength> {
  const measurements: { lambda: number; value: number }[] = [];
  let below: number | undefined;
  let above: number | undefined;
  let lambda = initial;
  let stride = 1;
  while (measurements.length < maxMeasurements) {
    const value = await measure(lambda);
    measurements.push({ lambda, value });
    if (Math.abs(value - target) <= tolerance * target) return { lambda, value, measurements };
    if (value < target) below = lambda;
    else above = lambda;
    stride *= STRIDE;
    if (below === undefined) lambda /= stride;
    else if (above === undefined) lambda *= stride;
    else lambda = Math.sqrt(below * above);
    const isStuck = below !== undefined && above !== undefined && above / below < 1 + 1e-4;
    if (isStuck || !Number.isFinite(lambda)) break;
  }
  const nearest = measurements.reduce((a, b) => (Math.abs(b.value - target) < Math.abs(a.value - target) ? b : a));
  throw new DataError(
    `No strength gives ${target}: the nearest of ${measurements.length} tried, λ = ${nearest.lambda.toPrecision(3)}, gives ` +
      `${nearest.value.toPrecision(3)}. Ask for less, or use more calibration prompts.`,
  );
}
