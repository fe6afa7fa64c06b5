/** Sets of real numbers as segments, where every bound is a number. */

import { isClose } from './equal-expressions.js';
import { evaluate } from './evaluate.js';
import { type Expression, symbolsOf } from './expression.js';

/** From lower to upper; a point is closed on both sides. */
export interface Segment {
  readonly lower: number;
  readonly upper: number;
  readonly lowerOpen: boolean;
  readonly upperOpen: boolean;
}

const ALL: Segment = { lower: -Infinity, upper: Infinity, lowerOpen: true, upperOpen: true };

/**
 * The segments of a set, ascending and apart from one another; undefined where it is no set of numbers. A pair in round brackets is
 * an open interval here, and inequalities in one variable of degree one are solved.
 */
export function toSegments(expression: Expression): readonly Segment[] | undefined {
  switch (expression.kind) {
    case 'interval':
      return fromBounds(expression.lower, expression.upper, expression);
    case 'list': {
      const { style, items } = expression;
      if (style === 'tuple') {
        return items.length === 2 ? fromBounds(items[0], items[1], { lowerOpen: true, upperOpen: true }) : undefined;
      }
      const parts = items.map((item) => toSegments(item) ?? pointOf(item));
      return parts.every((part) => part !== undefined) ? merge(parts.flat()) : undefined;
    }
    case 'setOperation': {
      const [a, b] = expression.operands.map(toSegments);
      if (a === undefined || b === undefined) return undefined;
      if (expression.name === 'union') return merge([...a, ...b]);
      return intersect(a, expression.name === 'difference' ? complement(b) : b);
    }
    case 'relation':
      return solve(expression);
    default:
      return undefined;
  }
}

export function equalSegments(a: readonly Segment[], b: readonly Segment[]): boolean {
  return (
    a.length === b.length &&
    a.every((segment, index) => {
      const other = b[index];
      const sameEnds = segment.lowerOpen === other.lowerOpen && segment.upperOpen === other.upperOpen;
      return sameEnds && isClose([segment.lower, 0], [other.lower, 0]) && isClose([segment.upper, 0], [other.upper, 0]);
    })
  );
}

function realValue(expression: Expression): number | undefined {
  const [real, imaginary] = evaluate(expression);
  return Number.isNaN(real) || imaginary !== 0 ? undefined : real;
}

function pointOf(expression: Expression): readonly Segment[] | undefined {
  const value = realValue(expression);
  return value === undefined ? undefined : [{ lower: value, upper: value, lowerOpen: false, upperOpen: false }];
}

function fromBounds(
  lowerBound: Expression,
  upperBound: Expression,
  ends: { lowerOpen: boolean; upperOpen: boolean },
): readonly Segment[] | undefined {
  const lower = realValue(lowerBound);
  const upper = realValue(upperBound);
  if (lower === undefined || upper === undefined || lower > upper) return undefined;
  return merge([{ lower, upper, lowerOpen: ends.lowerOpen, upperOpen: ends.upperOpen }]);
}

/** Sorts segments and joins those that touch. */
function merge(segments: readonly Segment[]): Segment[] {
  const sorted = segments
    .filter(({ lower, upper, lowerOpen, upperOpen }) => lower < upper || (lower === upper && !lowerOpen && !upperOpen))
    .sort((a, b) => a.lower - b.lower || Number(a.lowerOpen) - Number(b.lowerOpen));
  const merged: Segment[] = [];
  for (const segment of sorted) {
    const last = merged.at(-1);
    const touches =
      last !== undefined &&
      (segment.lower < last.upper || (segment.lower === last.upper && !(segment.lowerOpen && last.upperOpen)));
    if (!touches) merged.push(segment);
    else {
      const isFurther = segment.upper > last.upper || (segment.upper === last.upper && !segment.upperOpen);
      if (isFurther) merged[merged.length - 1] = { ...last, upper: segment.upper, upperOpen: segment.upperOpen };
    }
  }
  return merged;
}

function complement(segments: readonly Segment[]): Segment[] {
  const gaps: Segment[] = [];
  let { lower, lowerOpen } = ALL;
  for (const segment of segments) {
    gaps.push({ lower, lowerOpen, upper: segment.lower, upperOpen: !segment.lowerOpen });
    lower = segment.upper;
    lowerOpen = !segment.upperOpen;
  }
  return merge([...gaps, { ...ALL, lower, lowerOpen: lower === -Infinity || lowerOpen }]);
}

function intersect(a: readonly Segment[], b: readonly Segment[]): Segment[] {
  const outside = merge([...complement(a), ...complement(b)]);
  return complement(outside);
}

/** Inequalities of degree one in one variable: a < x ≤ b, 2x + 1 ≥ 5, x ≠ 3. */
function solve({ operators, operands }: Extract<Expression, { kind: 'relation' }>): readonly Segment[] | undefined {
  const symbols = [...operands.reduce((found, operand) => symbolsOf(operand, found), new Set<string>())];
  if (symbols.length !== 1) return undefined;
  let solution: readonly Segment[] = [ALL];
  for (const [index, operator] of operators.entries()) {
    if (operator === '∈' || operator === '=') return undefined;
    const [left, right] = [operands[index], operands[index + 1]];
    const isInfinite = [left, right].some((side) => Math.abs(realValue(side) ?? 0) === Infinity);
    if (isInfinite) continue; // −∞ < x says nothing
    const [f0, f1, f2] = [0, 1, 2].map((x) => {
      const values = new Map([[symbols[0], [x, 0] as const]]);
      return evaluate(left, values)[0] - evaluate(right, values)[0];
    });
    const slope = f1 - f0;
    if (!(Math.abs(f2 - 2 * f1 + f0) < 1e-9) || Math.abs(slope) < 1e-12) return undefined;
    const root = -f0 / slope + 0;
    const isBelow = (operator === '<' || operator === '≤') === slope > 0;
    const isOpen = operator === '<' || operator === '>' || operator === '≠';
    const below: Segment = { ...ALL, upper: root, upperOpen: isOpen };
    const above: Segment = { ...ALL, lower: root, lowerOpen: isOpen };
    solution = intersect(solution, operator === '≠' ? [below, above] : [isBelow ? below : above]);
  }
  return solution;
}
