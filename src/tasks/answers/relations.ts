/** Equations and inequalities: what they assert, whatever its form. */
import { type Complex, divide, modulus, subtract } from './complex.js';
import { equalExpressions, isClose, pointAt } from './equal-expressions.js';
import { evaluate } from './evaluate.js';
import { apply, type Expression, type RelationName, symbolsOf } from './expression.js';
import { equalSegments, toSegments } from './real-sets.js';

export type Relation = Extract<Expression, { kind: 'relation' }>;

const NUM_POINTS = 8;
const MIRRORED: Partial<Record<RelationName, RelationName>> = { '>': '<', '≥': '≤', '∈': '=' };

/** True where every sign of a relation is = or ∈. */
export function isEquation(expression: Expression): expression is Relation {
  return (
    expression.kind === 'relation' && expression.operators.every((operator) => operator === '=' || operator === '∈')
  );
}

/** True for an equation with nothing but names at its left: x = 5, f(x) = …, (x, y) = (1, 2), \text{Area} = 10. */
export function isAssignment(expression: Expression): expression is Relation {
  return isEquation(expression) && isName(expression.operands[0]);
}

/** Of a chain a = … = z, only a = z. */
export function shortenAssignment({ operands }: Relation): Relation {
  return { kind: 'relation', operators: ['='], operands: [operands[0], operands.at(-1)!] };
}

/** True where two relations hold for the same values of their variables, as far as scaling, moving terms and solving shows it. */
export function equalRelations(a: Relation, b: Relation): boolean {
  if (a.operators.length === 1 && b.operators.length === 1) return equalSimple(a, b);
  const [segmentsA, segmentsB] = [toSegments(a), toSegments(b)];
  if (segmentsA !== undefined && segmentsB !== undefined) {
    return [...symbolsOf(a)].join() === [...symbolsOf(b)].join() && equalSegments(segmentsA, segmentsB);
  }
  return equalChains(a, b) || equalChains(a, reversed(b));
}

function isName(expression: Expression): boolean {
  if (expression.kind === 'symbol' || expression.kind === 'text') return true;
  if (expression.kind === 'constant') return expression.name === 'i' || expression.name === 'e';
  if (expression.kind === 'list') return expression.items.every(isName);
  return expression.kind === 'apply' && expression.name === 'multiply' && expression.operands.every(isName);
}

function equalChains(a: Relation, b: Relation): boolean {
  return (
    a.operators.join() === b.operators.join() &&
    a.operands.every((operand, index) => equalExpressions(operand, b.operands[index]))
  );
}

function reversed({ operators, operands }: Relation): Relation {
  const turned: Record<RelationName, RelationName> = {
    '=': '=',
    '≠': '≠',
    '∈': '∈',
    '<': '>',
    '>': '<',
    '≤': '≥',
    '≥': '≤',
  };
  return {
    kind: 'relation',
    operators: operators.map((operator) => turned[operator]).reverse(),
    operands: [...operands].reverse(),
  };
}

/** The sign, and the difference that it compares with zero; > and ≥ are turned round. */
function toStandardForm({ operators: [operator], operands: [left, right] }: Relation): [RelationName, Expression] {
  const mirrored = MIRRORED[operator];
  if (mirrored === undefined || operator === '∈')
    return [mirrored ?? operator, apply('add', left, apply('negate', right))];
  return [mirrored, apply('add', right, apply('negate', left))];
}

function equalSimple(a: Relation, b: Relation): boolean {
  const [operatorA, differenceA] = toStandardForm(a);
  const [operatorB, differenceB] = toStandardForm(b);
  if (operatorA !== operatorB) return false;
  const symbols = [...symbolsOf(differenceA, symbolsOf(differenceB))].sort();
  if (symbols.length === 0) return equalExpressions(differenceA, differenceB);
  if (isMultiple(differenceA, differenceB, { symbols, isDirected: operatorA === '<' || operatorA === '≤' }))
    return true;
  return operatorA === '=' && symbols.some((symbol) => sameSolution(differenceA, differenceB, { symbols, symbol }));
}

/** True where a / b is one number at all points, positive where the direction matters. */
function isMultiple(
  a: Expression,
  b: Expression,
  { symbols, isDirected }: { symbols: readonly string[]; isDirected: boolean },
): boolean {
  let ratio: Complex | undefined;
  for (let index = 0; index < NUM_POINTS; index++) {
    const values = pointAt(symbols, index);
    const here = divide(evaluate(a, values), evaluate(b, values));
    if (!Number.isFinite(here[0]) || modulus(here) < 1e-9) return false;
    if (isDirected && here[0] < 0) return false;
    if (ratio !== undefined && modulus(subtract(ratio, here)) > 1e-8 * modulus(ratio)) return false;
    ratio = here;
  }
  return true;
}

/** True where both are of degree one in a variable and give it the same value at all points of the others. */
function sameSolution(
  a: Expression,
  b: Expression,
  { symbols, symbol }: { symbols: readonly string[]; symbol: string },
): boolean {
  for (let index = 0; index < NUM_POINTS; index++) {
    const [rootA, rootB] = [a, b].map((difference) => {
      const at = (x: number) => evaluate(difference, pointAt(symbols, index).set(symbol, [x, 0]))[0];
      const [f0, f1, f2] = [at(0), at(1), at(2)];
      const isLinear = Math.abs(f2 - 2 * f1 + f0) < 1e-9 && Math.abs(f1 - f0) > 1e-9;
      return isLinear ? -f0 / (f1 - f0) : Number.NaN;
    });
    const roots: readonly [Complex, Complex] = [
      [rootA, 0],
      [rootB, 0],
    ];
    if (Number.isNaN(rootA) || !isClose(...roots)) return false;
  }
  return true;
}
