/** Values of expressions in complex doubles, with given values of the variables. */
import { add, type Complex, cos, divide, exp, ln, modulus, multiply, power, sin, subtract } from './complex.js';
import type { ConstantName, Expression, OperationName } from './expression.js';
import { toNumber } from './rational.js';

const NOT_A_NUMBER: Complex = [Number.NaN, Number.NaN];
const ONE: Complex = [1, 0];

const CONSTANTS: Record<ConstantName, Complex> = {
  pi: [Math.PI, 0],
  e: [Math.E, 0],
  i: [0, 1],
  infinity: [Number.POSITIVE_INFINITY, 0],
};

type Rule = (operands: readonly Complex[]) => Complex;

const RULES: Record<OperationName, Rule> = {
  add: (terms) => terms.reduce(add),
  multiply: (factors) => factors.reduce(multiply),
  divide: ([a, b]) => divide(a, b),
  power: ([base, exponent]) => power(base, exponent),
  negate: ([[a, b]]) => [-a, -b],
  percent: ([[a, b]]) => [a / 100, b / 100],
  degrees: ([a]) => a,
  factorial: ([n]) => factorial(n),
  root: ([z, n]) => root(z, n),
  logBase: ([z, base]) => divide(ln(z), ln(base)),
  binomial: ([n, k]) => binomial(n, k),
  abs: ([z]) => [modulus(z), 0],
  floor: ([[a, b]]) => (b === 0 ? [Math.floor(a), 0] : NOT_A_NUMBER),
  ceil: ([[a, b]]) => (b === 0 ? [Math.ceil(a), 0] : NOT_A_NUMBER),
  max: (values) => ofReals(values, Math.max),
  min: (values) => ofReals(values, Math.min),
  gcd: (values) => ofReals(values, gcd),
  lcm: (values) => ofReals(values, (a, b) => (a * b) / gcd(a, b)),
  sin: ([z]) => sin(z),
  cos: ([z]) => cos(z),
  tan: ([z]) => divide(sin(z), cos(z)),
  cot: ([z]) => divide(cos(z), sin(z)),
  sec: ([z]) => divide(ONE, cos(z)),
  csc: ([z]) => divide(ONE, sin(z)),
  arcsin: ([z]) => ofReal(z, Math.asin),
  arccos: ([z]) => ofReal(z, Math.acos),
  arctan: ([z]) => ofReal(z, Math.atan),
  sinh: ([z]) => ofReal(z, Math.sinh),
  cosh: ([z]) => ofReal(z, Math.cosh),
  tanh: ([z]) => ofReal(z, Math.tanh),
  ln: ([z]) => ln(z),
  log: ([z]) => divide(ln(z), [Math.LN10, 0]),
  exp: ([z]) => exp(z),
};

const TRIGONOMETRIC = new Set<OperationName>(['sin', 'cos', 'tan', 'cot', 'sec', 'csc']);

/** The value of an expression; NaN where it has none (sets, text, division by zero, a variable without a value). */
export function evaluate(expression: Expression, values: ReadonlyMap<string, Complex> = new Map()): Complex {
  switch (expression.kind) {
    case 'number':
      return [toNumber(expression.value), 0];
    case 'constant':
      return CONSTANTS[expression.name];
    case 'symbol':
      return values.get(expression.name) ?? NOT_A_NUMBER;
    case 'apply': {
      const operands = expression.operands.map((operand) => evaluate(operand, values));
      // Elsewhere 90° is 90, as in answers; in a sine it is an angle.
      const [angle] = expression.operands;
      if (TRIGONOMETRIC.has(expression.name) && angle.kind === 'apply' && angle.name === 'degrees') {
        return RULES[expression.name]([multiply(operands[0], [Math.PI / 180, 0])]);
      }
      return RULES[expression.name](operands);
    }
    default:
      return NOT_A_NUMBER;
  }
}

function ofReal([a, b]: Complex, real: (value: number) => number): Complex {
  return b === 0 ? [real(a), 0] : NOT_A_NUMBER;
}

function ofReals(values: readonly Complex[], join: (a: number, b: number) => number): Complex {
  if (values.some(([, imaginary]) => imaginary !== 0)) return NOT_A_NUMBER;
  return [values.map(([real]) => real).reduce((a, b) => join(a, b)), 0];
}

/** Of whole numbers; NaN of others. */
function gcd(a: number, b: number): number {
  if (!Number.isSafeInteger(a) || !Number.isSafeInteger(b)) return Number.NaN;
  return b === 0 ? Math.abs(a) : gcd(b, a % b);
}

/** n (n − 1) … (n − k + 1) / k! for any n and a whole k to 100; NaN for other k. */
function binomial(n: Complex, [k, imaginary]: Complex): Complex {
  if (imaginary !== 0 || !Number.isInteger(k) || k < 0 || k > 100) return NOT_A_NUMBER;
  let value = ONE;
  for (let index = 0; index < k; index++) value = divide(multiply(value, subtract(n, [index, 0])), [index + 1, 0]);
  return value;
}

/** n! of a whole number to 170; NaN elsewhere. */
function factorial([n, imaginary]: Complex): Complex {
  if (imaginary !== 0 || !Number.isInteger(n) || n < 0 || n > 170) return NOT_A_NUMBER;
  let value = 1;
  for (let factor = 2; factor <= n; factor++) value *= factor;
  return [value, 0];
}

/** The n-th root: of a negative number and an odd n the real one, else the principal one. */
function root(z: Complex, [n, imaginary]: Complex): Complex {
  if (imaginary !== 0 || n === 0) return NOT_A_NUMBER;
  if (z[1] === 0 && n === 2) return z[0] >= 0 ? [Math.sqrt(z[0]), 0] : [0, Math.sqrt(-z[0])];
  if (z[1] === 0 && z[0] < 0 && Math.abs(n % 2) === 1) return [-((-z[0]) ** (1 / n)), 0];
  if (z[1] === 0 && n === 3) return [Math.cbrt(z[0]), 0];
  return power(z, [1 / n, 0]);
}
