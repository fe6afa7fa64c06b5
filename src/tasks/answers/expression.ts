import type { Rational } from './rational.js';

/** An answer as a tree. */
export type Expression =
  | { readonly kind: 'number'; readonly value: Rational; readonly isDecimal: boolean; readonly base?: string }
  | { readonly kind: 'constant'; readonly name: ConstantName }
  /** A variable: one letter in lower case or the name of a Greek one, with its subscript (`x_1`). */
  | { readonly kind: 'symbol'; readonly name: string }
  | { readonly kind: 'apply'; readonly name: OperationName; readonly operands: readonly Expression[] }
  /** Words: `\text{east}`. Letters and digits in lower case, nothing else. */
  | { readonly kind: 'text'; readonly text: string }
  /** Members in written order. `set` is also what stands without brackets, divided by commas; a pair in round brackets is a `tuple`. */
  | { readonly kind: 'list'; readonly style: 'set' | 'tuple'; readonly items: readonly Expression[] }
  | {
      readonly kind: 'interval';
      readonly lower: Expression;
      readonly upper: Expression;
      readonly lowerOpen: boolean;
      readonly upperOpen: boolean;
    }
  | { readonly kind: 'setOperation'; readonly name: SetOperationName; readonly operands: readonly Expression[] }
  | { readonly kind: 'matrix'; readonly rows: readonly (readonly Expression[])[] }
  /** A chain a < b ≤ c: one operator less than operands. */
  | {
      readonly kind: 'relation';
      readonly operators: readonly RelationName[];
      readonly operands: readonly Expression[];
    };

export type ConstantName = 'pi' | 'e' | 'i' | 'infinity';
type SetOperationName = 'union' | 'intersection' | 'difference';
export type RelationName = '=' | '≠' | '<' | '≤' | '>' | '≥' | '∈';
export type FunctionName = (typeof FUNCTION_NAMES)[number];
export type OperationName =
  | FunctionName
  | 'add'
  | 'multiply'
  | 'divide'
  | 'power'
  | 'negate'
  | 'factorial'
  | 'percent'
  | 'degrees'
  | 'root'
  | 'logBase'
  | 'binomial'
  | 'abs'
  | 'floor'
  | 'ceil'
  | 'max'
  | 'min'
  | 'gcd'
  | 'lcm';

/** Functions of one argument under the names that LaTeX gives them. */
export const FUNCTION_NAMES = [
  'sin',
  'cos',
  'tan',
  'cot',
  'sec',
  'csc',
  'arcsin',
  'arccos',
  'arctan',
  'sinh',
  'cosh',
  'tanh',
  'ln',
  'log',
  'exp',
] as const;

export function apply(name: OperationName, ...operands: Expression[]): Expression {
  return { kind: 'apply', name, operands };
}

/** The variables of an expression. */
export function symbolsOf(expression: Expression, found: Set<string> = new Set()): Set<string> {
  if (expression.kind === 'symbol') found.add(expression.name);
  for (const child of childrenOf(expression)) symbolsOf(child, found);
  return found;
}

function childrenOf(expression: Expression): readonly Expression[] {
  switch (expression.kind) {
    case 'apply':
    case 'setOperation':
    case 'relation':
      return expression.operands;
    case 'list':
      return expression.items;
    case 'interval':
      return [expression.lower, expression.upper];
    case 'matrix':
      return expression.rows.flat();
    default:
      return [];
  }
}
