/** How far a measured accuracy may lie from the true one. */
import { invariant } from '../support/errors.js';

export interface Interval {
  readonly lower: number;
  readonly upper: number;
}

/** 97.5 % quantile of the standard normal distribution. */
const Z95 = 1.959963984540054;

/**
 * Wilson's 95 % interval of a proportion k/n, both bounds in 0–1:
 * (p + z²/2n ± z·sqrt(p(1 − p)/n + z²/4n²)) / (1 + z²/n), p = k/n. With n = 0 it is [0, 1].
 * @see Wilson 1927; Brown, Cai & DasGupta, "Interval estimation for a binomial proportion", 2001
 */
export function wilsonInterval(numCorrect: number, total: number): Interval {
  invariant(
    Number.isInteger(numCorrect) && Number.isInteger(total) && numCorrect >= 0 && numCorrect <= total,
    `${numCorrect} of ${total}`,
  );
  if (total === 0) return { lower: 0, upper: 1 };
  const proportion = numCorrect / total;
  const squared = (Z95 * Z95) / total;
  const centre = proportion + squared / 2;
  const half = Z95 * Math.sqrt((proportion * (1 - proportion)) / total + squared / (4 * total));
  // At the ends the bound is exact; the formula leaves a rounding error there.
  return {
    lower: numCorrect === 0 ? 0 : (centre - half) / (1 + squared),
    upper: numCorrect === total ? 1 : (centre + half) / (1 + squared),
  };
}

/**
 * Newcombe's 95 % interval of a difference p₁ − p₂ of two independent proportions, from their Wilson intervals [lᵢ, uᵢ]:
 * d − √((p₁ − l₁)² + (u₂ − p₂)²) to d + √((u₁ − p₁)² + (p₂ − l₂)²).
 * @see Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10
 */
export function differenceInterval(
  first: { readonly correct: number; readonly total: number },
  second: { readonly correct: number; readonly total: number },
): Interval & { readonly difference: number } {
  const [a, b] = [first, second].map(({ correct, total }) => ({
    rate: correct / total,
    ...wilsonInterval(correct, total),
  }));
  const difference = a.rate - b.rate;
  return {
    difference,
    lower: difference - Math.hypot(a.rate - a.lower, b.upper - b.rate),
    upper: difference + Math.hypot(a.upper - a.rate, b.rate - b.lower),
  };
}
