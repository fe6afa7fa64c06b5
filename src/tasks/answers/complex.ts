/** Complex arithmetic in doubles, principal branches. */

export type Complex = readonly [real: number, imaginary: number];

export const add = ([a, b]: Complex, [c, d]: Complex): Complex => [a + c, b + d];
export const subtract = ([a, b]: Complex, [c, d]: Complex): Complex => [a - c, b - d];
export const multiply = ([a, b]: Complex, [c, d]: Complex): Complex =>
  b === 0 && d === 0 ? [a * c, 0] : [a * c - b * d, a * d + b * c];
export const modulus = ([a, b]: Complex): number => Math.hypot(a, b);

/** a / b; NaN over zero. */
export function divide([a, b]: Complex, [c, d]: Complex): Complex {
  const squared = c * c + d * d;
  if (squared === 0) return [Number.NaN, Number.NaN];
  if (b === 0 && d === 0) return [a / c, 0];
  return [(a * c + b * d) / squared, (b * c - a * d) / squared];
}

export function exp([a, b]: Complex): Complex {
  const scale = Math.exp(a);
  return b === 0 ? [scale, 0] : [scale * Math.cos(b), scale * Math.sin(b)];
}

export function ln(z: Complex): Complex {
  return [Math.log(modulus(z)), Math.atan2(z[1], z[0])];
}

/** z^w = e^(w ln z); of reals as doubles give it where the result is real. */
export function power(base: Complex, exponent: Complex): Complex {
  const isReal = base[1] === 0 && exponent[1] === 0;
  if (isReal && (base[0] >= 0 || Number.isInteger(exponent[0]))) return [base[0] ** exponent[0], 0];
  if (modulus(base) === 0) return exponent[0] > 0 ? [0, 0] : [Number.NaN, Number.NaN];
  return exp(multiply(exponent, ln(base)));
}

/** e^(iz). */
function turn([a, b]: Complex): Complex {
  return exp([-b, a]);
}

export function sin(z: Complex): Complex {
  if (z[1] === 0) return [Math.sin(z[0]), 0];
  return divide(subtract(turn(z), turn([-z[0], -z[1]])), [0, 2]);
}

export function cos(z: Complex): Complex {
  if (z[1] === 0) return [Math.cos(z[0]), 0];
  const sum = add(turn(z), turn([-z[0], -z[1]]));
  return [sum[0] / 2, sum[1] / 2];
}
