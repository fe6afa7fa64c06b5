/** Exact values of expressions without variables, where they are fractions. */
import type { Expression, OperationName } from './expression.js';
import {
  addRational,
  divideRational,
  floorRational,
  isShort,
  multiplyRational,
  powerRational,
  type Rational,
  rational,
} from './rational.js';

const MAX_FACTORIAL = 2000n;
const MINUS_ONE = rational(-1n);
const HUNDRED = rational(100n);

type Rule = (operands: readonly Rational[]) => Rational | undefined;

const RULES: Partial<Record<OperationName, Rule>> = {
  add: (terms) => terms.reduce(addRational),
  multiply: (factors) => factors.reduce(multiplyRational),
  divide: ([a, b]) => divideRational(a, b),
  power: ([base, exponent]) => powerRational(base, exponent),
  negate: ([a]) => multiplyRational(MINUS_ONE, a),
  percent: ([a]) => divideRational(a, HUNDRED),
  degrees: ([a]) => a,
  abs: ([a]) => (a.numerator < 0n ? multiplyRational(MINUS_ONE, a) : a),
  floor: ([a]) => floorRational(a),
  ceil: ([a]) => multiplyRational(MINUS_ONE, floorRational(multiplyRational(MINUS_ONE, a))),
  factorial: ([a]) => (isCount(a) ? rational(product(1n, a.numerator)) : undefined),
  binomial: ([n, k]) => binomial(n, k),
};

/** The exact value of an expression; undefined where it has variables, is no fraction or is too long to be computed. */
export function exactValue(expression: Expression): Rational | undefined {
  if (expression.kind === 'number') return expression.value;
  if (expression.kind !== 'apply') return undefined;
  const rule = RULES[expression.name];
  if (rule === undefined) return undefined;
  const operands: Rational[] = [];
  for (const operand of expression.operands) {
    const value = exactValue(operand);
    if (value === undefined) return undefined;
    operands.push(value);
  }
  const value = rule(operands);
  return value !== undefined && isShort(value) ? value : undefined;
}

function isCount({ numerator, denominator }: Rational): boolean {
  return denominator === 1n && numerator >= 0n && numerator <= MAX_FACTORIAL;
}

/** from · (from + 1) · … · to; 1 where that is empty. */
function product(from: bigint, to: bigint): bigint {
  let value = 1n;
  for (let factor = from; factor <= to; factor++) value *= factor;
  return value;
}

function binomial(n: Rational, k: Rational): Rational | undefined {
  if (!isCount(n) || !isCount(k)) return undefined;
  if (k.numerator > n.numerator) return rational(0n);
  return rational(product(n.numerator - k.numerator + 1n, n.numerator), product(1n, k.numerator));
}
