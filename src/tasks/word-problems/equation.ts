/** Equations of arithmetic word problems: `( 8.0 - 3.0 )` as SVAMP writes them, `- 8 3` as MAWPS does. */
import { DataError } from '../../support/errors.js';

type Operator = '+' | '-' | '*' | '/';

export type Equation = number | { readonly operator: Operator; readonly left: Equation; readonly right: Equation };

const TOKEN = /(?:\d+(?:\.\d+)?|\.\d+)|[-+*/()]/g;
const NUMBER = /^-?(?:\d+(?:\.\d+)?|\.\d+)$/;
const STRENGTH: Readonly<Record<Operator, number>> = { '+': 1, '-': 1, '*': 2, '/': 2 };

const isOperator = (token: string | undefined): token is Operator => token !== undefined && token in STRENGTH;

/**
 * Reads an equation without its right side; one that begins with an operator is in prefix notation, any other in infix. Errors:
 * DataError quoting a text that is neither. Numbers have a sign in prefix notation only, where blanks tell it from an operator.
 */
export function parseEquation(text: string): Equation {
  const isPrefix = /^\s*[-+*/]\s/.test(text);
  const tokens: readonly string[] = isPrefix ? text.trim().split(/\s+/) : (text.match(TOKEN) ?? []);
  const isWhole = tokens.join('') === text.replace(/\s+/g, '');
  let position = 0;

  const fail = (): never => {
    throw new DataError(
      `${JSON.stringify(text)} is no equation. Expected numbers with + - * / and brackets (8 - 3), or operators first (- 8 3).`,
    );
  };
  const number = (): number => {
    const token = tokens[position++];
    return token !== undefined && NUMBER.test(token) ? Number(token) : fail();
  };
  const prefix = (): Equation => {
    const operator = tokens[position];
    if (!isOperator(operator)) return number();
    position++;
    const left = prefix();
    return { operator, left, right: prefix() };
  };
  const operand = (): Equation => {
    if (tokens[position] !== '(') return number();
    position++;
    const inner = infix(1);
    return tokens[position++] === ')' ? inner : fail();
  };
  const infix = (strength: number): Equation => {
    let left = strength > 2 ? operand() : infix(strength + 1);
    for (;;) {
      const operator = tokens[position];
      if (!isOperator(operator) || STRENGTH[operator] !== strength) return left;
      position++;
      left = { operator, left, right: infix(strength + 1) };
    }
  };

  const equation = isPrefix ? prefix() : infix(1);
  return isWhole && position === tokens.length ? equation : fail();
}

/** The value; not finite where something is divided by zero. */
export function solve(equation: Equation): number {
  if (typeof equation === 'number') return equation;
  const [left, right] = [solve(equation.left), solve(equation.right)];
  switch (equation.operator) {
    case '+':
      return left + right;
    case '-':
      return left - right;
    case '*':
      return left * right;
    case '/':
      return left / right;
  }
}

/** A number as people write it, with at most six decimals: what answers are compared by. */
export const formatAmount = (value: number): string => String(Number(value.toFixed(6)));

/** Whether a number is the expected answer, up to the six decimals that answers are compared by. */
export const isAnswer = (value: number, answer: string): boolean =>
  Number.isFinite(value) && Math.abs(value - Number(answer.replaceAll(',', ''))) < 1e-6 * Math.max(1, Math.abs(value));
