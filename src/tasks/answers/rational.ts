import { invariant } from '../../support/errors.js';

/** An exact fraction in lowest terms; the denominator is positive. */
export interface Rational {
  readonly numerator: bigint;
  readonly denominator: bigint;
}

/** Longest numerator or denominator that is computed, in bits: beyond it an exact value is worth nothing to an answer. */
const MAX_BITS = 20_000;

/** numerator / denominator in lowest terms; the denominator must not be zero. */
export function rational(numerator: bigint, denominator = 1n): Rational {
  invariant(denominator !== 0n, 'a fraction over zero');
  const divisor = gcd(numerator < 0n ? -numerator : numerator, denominator < 0n ? -denominator : denominator);
  const sign = denominator < 0n ? -1n : 1n;
  return { numerator: (sign * numerator) / divisor, denominator: (sign * denominator) / divisor };
}

/** The exact value of decimal notation: digits, at most one point. */
export function parseDecimal(text: string): Rational {
  const [whole, fraction = ''] = text.split('.');
  return rational(BigInt(`${whole}${fraction}` || '0'), 10n ** BigInt(fraction.length));
}

export function addRational(a: Rational, b: Rational): Rational {
  return rational(a.numerator * b.denominator + b.numerator * a.denominator, a.denominator * b.denominator);
}

export function multiplyRational(a: Rational, b: Rational): Rational {
  return rational(a.numerator * b.numerator, a.denominator * b.denominator);
}

/** a / b; undefined over zero. */
export function divideRational(a: Rational, b: Rational): Rational | undefined {
  if (b.numerator === 0n) return undefined;
  return rational(a.numerator * b.denominator, a.denominator * b.numerator);
}

/** base^exponent; undefined where it is no fraction, undefined itself, or too long to be computed. */
export function powerRational(base: Rational, exponent: Rational): Rational | undefined {
  if (exponent.denominator !== 1n) return undefined;
  const isNegative = exponent.numerator < 0n;
  const power = isNegative ? -exponent.numerator : exponent.numerator;
  if (base.numerator === 0n) return isNegative || power === 0n ? undefined : base;
  const bits = Math.max(bitsOf(base.numerator), bitsOf(base.denominator));
  if (power > BigInt(MAX_BITS) || Number(power) * bits > MAX_BITS) {
    const isUnit = base.denominator === 1n && base.numerator ** 2n === 1n;
    return isUnit ? unitPower(base, power) : undefined;
  }
  const numerator = base.numerator ** power;
  const denominator = base.denominator ** power;
  return isNegative ? rational(denominator, numerator) : rational(numerator, denominator);
}

/** True where a fraction is short enough to be computed with. */
export function isShort({ numerator, denominator }: Rational): boolean {
  return bitsOf(numerator) <= MAX_BITS && bitsOf(denominator) <= MAX_BITS;
}

/** The largest whole number not above a fraction. */
export function floorRational({ numerator, denominator }: Rational): Rational {
  const quotient = numerator / denominator; // towards zero
  return rational(numerator < 0n && quotient * denominator !== numerator ? quotient - 1n : quotient);
}

export function equalRational(a: Rational, b: Rational): boolean {
  return a.numerator === b.numerator && a.denominator === b.denominator;
}

/** The nearest double, also where numerator and denominator are beyond its range. */
export function toNumber({ numerator, denominator }: Rational): number {
  const direct = Number(numerator) / Number(denominator);
  if (Number.isFinite(direct) && direct !== 0) return direct;
  const shift = BigInt(Math.max(0, bitsOf(denominator) - bitsOf(numerator) + 64));
  const scaled = Number((numerator << shift) / denominator);
  return scaled * 2 ** -Number(shift);
}

function unitPower(base: Rational, power: bigint): Rational {
  return base.numerator > 0n || power % 2n === 0n ? rational(1n) : base;
}

/** Length in bits, at most three short: counted in whole hexadecimal digits. */
function bitsOf(value: bigint): number {
  return (value < 0n ? -value : value).toString(16).length * 4 - 3;
}

function gcd(a: bigint, b: bigint): bigint {
  let [x, y] = [a, b];
  while (y !== 0n) [x, y] = [y, x % y];
  return x;
}
