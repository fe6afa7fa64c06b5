/** Equality of two expressions: exact where both are fractions, else by their values at points. */
import { type Complex, modulus, subtract } from './complex.js';
import { evaluate } from './evaluate.js';
import { exactValue } from './exact.js';
import { type Expression, symbolsOf } from './expression.js';
import { equalRational, multiplyRational, type Rational, rational } from './rational.js';

/** Decimals that a decimal number is compared with, as Math-Verify does by default. */
const DECIMALS = 6;
/** Rounding of doubles over a long formula; a wrong answer differs by far more. */
const RELATIVE_TOLERANCE = 1e-10;
/** Points at which formulas with variables are compared: positive, negative, small, and a few of them outside [−1, 1]. */
const NUM_POINTS = 12;
const LEAST_POINTS = 3;

/** True where two expressions (no sets, relations or text) have the same value for all values of their variables. */
export function equalExpressions(a: Expression, b: Expression): boolean {
  const exactA = exactValue(a);
  const exactB = exactValue(b);
  if (exactA !== undefined && exactB !== undefined) {
    if (equalRational(exactA, exactB)) return true;
    return isDecimalComparison(a, b) && agreeRounded(exactA, exactB);
  }
  const symbols = [...symbolsOf(a, symbolsOf(b))].sort();
  if (symbols.length > 0) return agreeAtPoints(a, b, symbols);
  const valueA = evaluate(a);
  const valueB = evaluate(b);
  // Beyond the range of doubles both values would be infinite, and equal whatever they are.
  if ([a, b].some((side, index) => !isFinitePoint([valueA, valueB][index]) && !namesInfinity(side))) return false;
  if (isClose(valueA, valueB)) return true;
  if (!isDecimal(a) && !isDecimal(b)) return false;
  return valueA[1] === 0 && valueB[1] === 0 && valueA[0].toFixed(DECIMALS) === valueB[0].toFixed(DECIMALS);
}

/** The values of the variables at one of the points; the same at every call. */
export function pointAt(symbols: readonly string[], index: number): Map<string, Complex> {
  return new Map(symbols.map((symbol, at) => [symbol, [coordinate(symbol, index, at), 0]]));
}

/** Within rounding of one another. Infinities of one sign are. */
export function isClose(a: Complex, b: Complex): boolean {
  if (!Number.isFinite(a[0]) || !Number.isFinite(b[0])) return a[0] === b[0] && a[1] === b[1];
  return modulus(subtract(a, b)) <= RELATIVE_TOLERANCE * Math.max(modulus(a), modulus(b), 1e-12);
}

function namesInfinity(expression: Expression): boolean {
  if (expression.kind === 'constant') return expression.name === 'infinity';
  return expression.kind === 'apply' && expression.operands.some(namesInfinity);
}

/** A number as it is written, whatever its sign, percent or degrees. */
function isDecimal(expression: Expression): boolean {
  if (expression.kind === 'number') return expression.isDecimal;
  const isWrapper = expression.kind === 'apply' && ['negate', 'percent', 'degrees'].includes(expression.name);
  return isWrapper && isDecimal(expression.operands[0]);
}

/** A decimal is compared in its digits with anything but a whole number: 0.333333 is 1/3, but 1.0000001 is not 1. */
function isDecimalComparison(a: Expression, b: Expression): boolean {
  const [decimalA, decimalB] = [isDecimal(a), isDecimal(b)];
  if (decimalA && decimalB) return true;
  if (!decimalA && !decimalB) return false;
  return exactValue(decimalA ? b : a)!.denominator !== 1n;
}

function agreeRounded(a: Rational, b: Rational): boolean {
  return roundedDecimals(a) === roundedDecimals(b);
}

/** value · 10^6, rounded half to even. */
function roundedDecimals(value: Rational): bigint {
  const { numerator, denominator } = multiplyRational(value, rational(10n ** BigInt(DECIMALS)));
  const doubled = 2n * numerator + denominator;
  const floor =
    doubled >= 0n ? doubled / (2n * denominator) : -((-doubled + 2n * denominator - 1n) / (2n * denominator));
  const isTie = doubled % (2n * denominator) === 0n;
  return isTie && floor % 2n !== 0n ? floor - 1n : floor;
}

function agreeAtPoints(a: Expression, b: Expression, symbols: readonly string[]): boolean {
  let numCompared = 0;
  for (let index = 0; index < NUM_POINTS; index++) {
    const values = pointAt(symbols, index);
    const valueA = evaluate(a, values);
    const valueB = evaluate(b, values);
    if (!isFinitePoint(valueA) || !isFinitePoint(valueB)) continue; // a pole, or out of range
    // Close to zero the difference of large terms is all rounding: compare with the size of the terms too.
    if (modulus(subtract(valueA, valueB)) > 1e-9 * Math.max(modulus(valueA), modulus(valueB), 1)) return false;
    numCompared++;
  }
  return numCompared >= LEAST_POINTS;
}

function isFinitePoint([real, imaginary]: Complex): boolean {
  return Number.isFinite(real) && Number.isFinite(imaginary);
}

/** Pseudo-random in (−3, 3), away from whole numbers; symbols of one name meet the same value in both expressions. */
function coordinate(symbol: string, index: number, at: number): number {
  let state = 2166136261 ^ (index * 7919 + at);
  for (const character of symbol) state = Math.imul(state ^ character.charCodeAt(0), 16777619);
  state = Math.imul(state ^ (state >>> 15), 2246822507);
  const unit = ((state ^ (state >>> 13)) >>> 0) / 2 ** 32;
  return (index % 3 === 2 ? -1 : 1) * (0.137 + unit * 2.8);
}
