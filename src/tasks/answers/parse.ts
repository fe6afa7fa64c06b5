/** A normalised answer as a tree: recursive descent over LaTeX and plain notation at once. */
import { apply, type Expression, type RelationName } from './expression.js';
import { parsePrimary } from './parse-primary.js';
import { createReader, type Reader } from './reader.js';
import { tokenize, UnreadableAnswer } from './tokens.js';

const RELATIONS = new Map<string, RelationName>([
  ['=', '='],
  ['approx', '='],
  ['equiv', '='],
  ['<', '<'],
  ['>', '>'],
  ['lt', '<'],
  ['gt', '>'],
  ['le', '≤'],
  ['leq', '≤'],
  ['leqslant', '≤'],
  ['ge', '≥'],
  ['geq', '≥'],
  ['geqslant', '≥'],
  ['ne', '≠'],
  ['neq', '≠'],
  ['in', '∈'],
]);
const SET_OPERATIONS = new Map([
  ['cup', 'union'],
  ['cap', 'intersection'],
  ['setminus', 'difference'],
  ['backslash', 'difference'],
] as const);
const TIMES = new Set(['*', 'cdot', 'times', 'ast', 'cdotp']);
const DIVIDE = new Set(['/', 'div']);

/** Longest answer that is parsed, in tokens: no recursion over its tree overflows the stack. */
const MAX_TOKENS = 2000;

/** The tree of an answer; undefined where it is no formula that the grammar knows. */
export function parseAnswer(text: string): Expression | undefined {
  try {
    const tokens = tokenize(text);
    if (tokens.length === 0 || tokens.length > MAX_TOKENS) return undefined;
    const reader = createReader(tokens, parseFormula);
    const items = parseItems(reader, { expand: true });
    if (!reader.isDone()) throw new UnreadableAnswer('text after the formula');
    return items.length === 1 ? items[0] : { kind: 'list', style: 'set', items };
  } catch (error) {
    if (error instanceof UnreadableAnswer) return undefined;
    throw error;
  }
}

/** Items divided by commas or semicolons. With `expand` an item with ± becomes two; else the bracket around it does. */
function parseItems(reader: Reader, { expand = false }: { expand?: boolean } = {}): Expression[] {
  const items: Expression[] = [];
  do {
    if (expand) items.push(...reader.withBothSigns(() => parseRelation(reader)));
    else items.push(parseRelation(reader));
  } while (reader.takeMark(',', ';') && !reader.isDone());
  return items;
}

function parseRelation(reader: Reader): Expression {
  // An answer may begin with the sign of a relation alone: "≈ 3.14", "= 5".
  if (['=', 'approx'].includes(reader.peek()?.text ?? '')) reader.next();
  const operands = [parseSetOperation(reader)];
  const operators: RelationName[] = [];
  for (;;) {
    let operator = RELATIONS.get(reader.peekOperator() ?? '');
    if (operator === undefined) break;
    reader.next();
    if (reader.takeMark('=')) operator = operator === '<' ? '≤' : operator === '>' ? '≥' : operator;
    operators.push(operator);
    operands.push(parseSetOperation(reader));
  }
  return operators.length === 0 ? operands[0] : { kind: 'relation', operators, operands };
}

function parseSetOperation(reader: Reader): Expression {
  let left = parseFormula(reader);
  for (;;) {
    const name = SET_OPERATIONS.get(reader.peekOperator() as 'cup');
    if (name === undefined) return left;
    reader.next();
    left = { kind: 'setOperation', name, operands: [left, parseFormula(reader)] };
  }
}

/** A sum of products. */
function parseFormula(reader: Reader): Expression {
  return reader.nested(() => {
    const terms = [parseSigned(reader, true)];
    while (reader.peekSign() !== undefined) terms.push(parseSigned(reader, false));
    return terms.length === 1 ? terms[0] : apply('add', ...terms);
  });
}

/** One term with the signs before it. */
function parseSigned(reader: Reader, isFirst: boolean): Expression {
  let isNegative = false;
  for (let sign = reader.peekSign(); sign !== undefined; sign = reader.peekSign()) {
    reader.next();
    if (sign === '-') isNegative = !isNegative;
    if (!isFirst && reader.isDone()) throw new UnreadableAnswer('a sign at the end');
  }
  const term = parseProduct(reader);
  return isNegative ? apply('negate', term) : term;
}

function parseProduct(reader: Reader): Expression {
  let left = parsePower(reader);
  for (;;) {
    const operator = reader.peekOperator();
    if (operator !== undefined && TIMES.has(operator)) {
      reader.next();
      left = apply('multiply', left, parseFactor(reader));
    } else if (operator !== undefined && DIVIDE.has(operator)) {
      reader.next();
      left = apply('divide', left, parseFactor(reader));
    } else if (operator === ':' && left.kind === 'number') {
      reader.next(); // a ratio, and a time of day, which is equal to itself
      left = apply('divide', left, parseFactor(reader));
    } else if (reader.startsFactor()) {
      left = parseJuxtaposed(reader, left);
    } else return left;
  }
}

/** What stands behind a factor without a sign: a product, a unit to be ignored, or the fraction of a mixed number (1\frac{1}{2}, 1 1/2). */
function parseJuxtaposed(reader: Reader, left: Expression): Expression {
  const isAfterWhole = left.kind === 'number' && !left.isDecimal;
  const isTwoNumbers = left.kind === 'number' && reader.peek()?.kind === 'number';
  const isFraction = reader.peek()?.text === 'frac';
  const right = parsePower(reader);
  if (isTwoNumbers) {
    if (!isAfterWhole || reader.peekOperator() !== '/') throw new UnreadableAnswer('two numbers side by side');
    reader.next();
    return apply('add', left, apply('divide', right, parsePower(reader)));
  }
  if (right.kind === 'text' && left.kind !== 'text') return left;
  const isPlain = right.kind === 'apply' && right.operands.every(({ kind }) => kind === 'number');
  return apply(isAfterWhole && isFraction && isPlain ? 'add' : 'multiply', left, right);
}

/** A factor after an explicit sign of multiplication or division, which may be negative. */
function parseFactor(reader: Reader): Expression {
  const sign = reader.peekSign();
  if (sign === undefined) return parsePower(reader);
  reader.next();
  const factor = reader.nested(() => parseFactor(reader));
  return sign === '-' ? apply('negate', factor) : factor;
}

/** A primary with what stands behind it: factorial, percent, degrees, prime, power. */
function parsePower(reader: Reader): Expression {
  let base = parsePrimary(reader, { parsePower, parseItems });
  for (;;) {
    if (reader.takeMark('!')) base = apply('factorial', base);
    else if (reader.takeMark('%')) base = apply('percent', base);
    else if (reader.takeMark('°')) base = apply('degrees', base);
    else if (reader.takeMark("'")) base = { kind: 'symbol', name: `${base.kind === 'symbol' ? base.name : '?'}'` };
    else if (reader.takeMark('^'))
      return apply(
        'power',
        base,
        reader.nested(() => parseExponent(reader)),
      );
    else return base;
  }
}

function parseExponent(reader: Reader): Expression {
  const sign = reader.peekSign();
  if (sign !== undefined) reader.next();
  const exponent = parsePower(reader);
  return sign === '-' ? apply('negate', exponent) : exponent;
}
