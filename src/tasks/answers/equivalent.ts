/** Whether two answers mean the same. Not symmetric: the form of the expected one decides what the other may leave out. */
import { equalExpressions } from './equal-expressions.js';
import { apply, type Expression } from './expression.js';
import { equalSegments, toSegments } from './real-sets.js';
import { equalRelations, isAssignment, isEquation, shortenAssignment } from './relations.js';

type List = Extract<Expression, { kind: 'list' }>;

/**
 * True where the actual answer is the expected one in any form that Math-Verify accepts.
 * @see https://github.com/huggingface/Math-Verify; deviations: docs/tasks.md
 */
export function areEquivalent(expected: Expression, actual: Expression): boolean {
  if (isDeepEqual(expected, actual)) return true;
  const [gold, given] = unwrapEquations(expected, actual);
  if (gold.kind === 'relation' && given.kind === 'relation') return equalRelations(gold, given);
  if (isSetLike(gold) || isSetLike(given) || gold.kind === 'relation') return areEqualSets(gold, given);
  if (given.kind === 'relation') return false;
  if (gold.kind === 'text' || given.kind === 'text') {
    return gold.kind === 'text' && given.kind === 'text' && gold.text === given.text && gold.text !== '';
  }
  const [goldMatrix, givenMatrix] = [toMatrix(gold), toMatrix(given)];
  if (goldMatrix !== undefined || givenMatrix !== undefined) return areEqualMatrices(goldMatrix, givenMatrix);
  if (gold.kind === 'number' && given.kind === 'number' && gold.base !== given.base && gold.base && given.base)
    return false;
  return equalExpressions(gold, given) || areEqualPercents(gold, given);
}

/** "x = 5" and "5" are one answer; "2x + z = 1" and "1" are not; of "3 + 4 = 7" only 7 counts where a number is expected. */
function unwrapEquations(expected: Expression, actual: Expression): [Expression, Expression] {
  const gold = isAssignment(expected) ? shortenAssignment(expected) : expected;
  const given = isAssignment(actual) ? shortenAssignment(actual) : actual;
  if (isEquation(given) && !isEquation(gold)) return [gold, given.operands.at(-1)!];
  if (isAssignment(gold) && !isEquation(given)) return [gold.operands[1], given];
  return [gold, given];
}

/** 50% is 0.5, and also 50. */
function areEqualPercents(a: Expression, b: Expression): boolean {
  const [plainA, plainB] = [withoutPercent(a), withoutPercent(b)];
  return (plainA !== a || plainB !== b) && equalExpressions(plainA, plainB);
}

function withoutPercent(expression: Expression): Expression {
  if (expression.kind !== 'apply') return expression;
  if (expression.name === 'percent') return expression.operands[0];
  return expression.name === 'negate' ? apply('negate', withoutPercent(expression.operands[0])) : expression;
}

function isSetLike({ kind }: Expression): boolean {
  return kind === 'list' || kind === 'interval' || kind === 'setOperation';
}

function areEqualSets(gold: Expression, given: Expression): boolean {
  if (gold.kind === 'interval' && given.kind === 'interval') {
    return (
      gold.lowerOpen === given.lowerOpen &&
      gold.upperOpen === given.upperOpen &&
      areEquivalent(gold.lower, given.lower) &&
      areEquivalent(gold.upper, given.upper)
    );
  }
  // Bare inequalities answer a question for an interval only where they are what is expected; so does Math-Verify.
  if (given.kind === 'relation' && isSetLike(gold)) return false;
  const areLists = [gold, given].every((answer) => answer.kind === 'list' || !isSetLike(answer));
  if (!areLists || gold.kind === 'relation') {
    const [segmentsA, segmentsB] = [toSegments(gold), toSegments(given)];
    if (segmentsA !== undefined && segmentsB !== undefined) return equalSegments(segmentsA, segmentsB);
    return areEqualOperations(gold, given);
  }
  return areEqualLists(toList(gold), toList(given));
}

/** Unions whose bounds are no numbers: the same operation on the same sets. */
function areEqualOperations(gold: Expression, given: Expression): boolean {
  if (gold.kind !== 'setOperation' || given.kind !== 'setOperation' || gold.name !== given.name) return false;
  const [a, b] = [gold.operands, given.operands];
  const inOrder = a.every((operand, index) => areEquivalent(operand, b[index]));
  return inOrder || (gold.name !== 'difference' && areEquivalent(a[0], b[1]) && areEquivalent(a[1], b[0]));
}

function toList(expression: Expression): List {
  return expression.kind === 'list' ? expression : { kind: 'list', style: 'set', items: [expression] };
}

/** A tuple is compared in written order, also with a set; of two sets, or where a set is expected, order and repeats do not matter. */
function areEqualLists(gold: List, given: List): boolean {
  if (gold.style === 'tuple') {
    return (
      gold.items.length === given.items.length &&
      gold.items.every((item, index) => areEquivalent(item, given.items[index]))
    );
  }
  const expected = distinct(gold.items);
  const open = distinct(given.items);
  if (expected.length !== open.length) return false;
  return expected.every((item) => {
    const index = open.findIndex((other) => areEquivalent(item, other));
    if (index >= 0) open.splice(index, 1);
    return index >= 0;
  });
}

function distinct(items: readonly Expression[]): Expression[] {
  const kept: Expression[] = [];
  for (const item of items) if (!kept.some((other) => areEquivalent(other, item))) kept.push(item);
  return kept;
}

type Rows = readonly (readonly Expression[])[];

/** The entries of a matrix, or of one that is negated, scaled or divided; undefined for what is none. */
function toMatrix(expression: Expression): Rows | undefined {
  if (expression.kind === 'matrix') return expression.rows;
  if (expression.kind !== 'apply') return undefined;
  const { name, operands } = expression;
  const matrices = operands.map(toMatrix);
  const index = matrices.findIndex((rows) => rows !== undefined);
  if (index < 0 || !['negate', 'multiply', 'divide'].includes(name) || matrices.filter(Boolean).length > 1)
    return undefined;
  return matrices[index]!.map((row) =>
    row.map((entry) => apply(name, ...operands.map((operand, at) => (at === index ? entry : operand)))),
  );
}

function areEqualMatrices(a: Rows | undefined, b: Rows | undefined): boolean {
  return (
    a !== undefined &&
    b !== undefined &&
    a.length === b.length &&
    a.every((row, i) => row.length === b[i].length && row.every((entry, j) => areEquivalent(entry, b[i][j])))
  );
}

function isDeepEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => isDeepEqual((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]))
  );
}
