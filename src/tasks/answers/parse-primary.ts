/** The smallest parts of a formula: numbers, names, brackets, commands. */
import { apply, type Expression, FUNCTION_NAMES, type FunctionName } from './expression.js';
import { addRational, divideRational, multiplyRational, parseDecimal, type Rational, rational } from './rational.js';
import type { Reader } from './reader.js';
import { UnreadableAnswer } from './tokens.js';

/** The parts of the grammar above this one. */
export interface Grammar {
  readonly parsePower: (reader: Reader) => Expression;
  readonly parseItems: (reader: Reader, options?: { expand?: boolean }) => Expression[];
}

type CommandParser = (reader: Reader, grammar: Grammar) => Expression;

const INFINITY: Expression = { kind: 'constant', name: 'infinity' };
const CLOSING = { '(': [')', ']'], '[': [']', ')'] } as const;

const COMMANDS: Readonly<Record<string, CommandParser>> = {
  frac: (reader, grammar) => apply('divide', parseArgument(reader, grammar), parseArgument(reader, grammar)),
  binom: (reader, grammar) => apply('binomial', parseArgument(reader, grammar), parseArgument(reader, grammar)),
  dbinom: (reader, grammar) => apply('binomial', parseArgument(reader, grammar), parseArgument(reader, grammar)),
  sqrt(reader, grammar) {
    const index = reader.takeMark('[') ? reader.parseFormula() : integer(2n);
    if (index.kind !== 'number' || reader.peek()?.text === ']') reader.expectMark(']');
    return apply('root', parseArgument(reader, grammar), index);
  },
  pi: () => ({ kind: 'constant', name: 'pi' }),
  infty: () => INFINITY,
  inf: () => INFINITY,
  emptyset: () => ({ kind: 'list', style: 'set', items: [] }),
  varnothing: () => ({ kind: 'list', style: 'set', items: [] }),
  lfloor: (reader) => closedBy(reader, 'rfloor', (inner) => apply('floor', inner)),
  lceil: (reader) => closedBy(reader, 'rceil', (inner) => apply('ceil', inner)),
  lvert: (reader) => closedBy(reader, 'rvert', (inner) => apply('abs', inner)),
  vert: (reader) => closedBy(reader, 'vert', (inner) => apply('abs', inner)),
  lbrace: (reader, grammar) => parseSet(reader, grammar, 'rbrace'),
  langle(reader, grammar) {
    const items = grammar.parseItems(reader);
    reader.expectMark('rangle');
    return { kind: 'list', style: 'tuple', items };
  },
  mathbb(reader) {
    reader.expectMark('{');
    const letter = reader.next().text;
    reader.expectMark('}');
    if (letter !== 'R') return { kind: 'text', text: letter.toLowerCase() };
    return { kind: 'interval', lower: apply('negate', INFINITY), upper: INFINITY, lowerOpen: true, upperOpen: true };
  },
  begin: parseEnvironment,
  log(reader, grammar) {
    if (!reader.takeMark('_')) return parseFunction(reader, grammar, 'log');
    const base = parseArgument(reader, grammar);
    return apply('logBase', parseFunctionArgument(reader, grammar), base);
  },
  max: (reader, grammar) => parseSeveral(reader, grammar, 'max'),
  min: (reader, grammar) => parseSeveral(reader, grammar, 'min'),
  gcd: (reader, grammar) => parseSeveral(reader, grammar, 'gcd'),
  lcm: (reader, grammar) => parseSeveral(reader, grammar, 'lcm'),
  overline: (reader, grammar) => parseArgument(reader, grammar),
  bar: (reader, grammar) => parseArgument(reader, grammar),
  vec: (reader, grammar) => parseArgument(reader, grammar),
  overrightarrow: (reader, grammar) => parseArgument(reader, grammar),
  hat: (reader, grammar) => parseArgument(reader, grammar),
  boxed: (reader, grammar) => parseArgument(reader, grammar),
  lg: (reader, grammar) => parseFunction(reader, grammar, 'log'),
};

/** Errors: UnreadableAnswer where no part of a formula begins. */
export function parsePrimary(reader: Reader, grammar: Grammar): Expression {
  const token = reader.next();
  switch (token.kind) {
    case 'number':
      return parseNumber(reader, token.text);
    case 'letter':
      return parseSymbol(reader, token.text);
    case 'text':
      return { kind: 'text', text: lettersOf(token.text) };
    case 'command': {
      if ((FUNCTION_NAMES as readonly string[]).includes(token.text) && token.text !== 'log') {
        return parseFunction(reader, grammar, token.text as FunctionName);
      }
      const parse = Object.hasOwn(COMMANDS, token.text) ? COMMANDS[token.text] : undefined;
      if (parse !== undefined) return reader.nested(() => parse(reader, grammar));
      if (GREEK.has(token.text)) return parseSymbol(reader, token.text);
      throw new UnreadableAnswer(`\\${token.text}`);
    }
    case 'mark':
      return reader.nested(() => parseBracket(reader, token.text, grammar));
  }
}

/** Letters and digits of a text in lower case; a choice `(B)` is `b`. */
export function lettersOf(text: string): string {
  return text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, '');
}

const GREEK = new Set(
  (
    'alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau upsilon phi varphi ' +
    'chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell hbar'
  ).split(' '),
);

function integer(value: bigint): Expression {
  return { kind: 'number', value: rational(value), isDecimal: false };
}

function parseNumber(reader: Reader, text: string): Expression {
  const [mantissa, exponent] = text.toLowerCase().split('e');
  if ((exponent ?? '').length > 4) throw new UnreadableAnswer('an exponent of five digits');
  let value = parseDecimal(mantissa);
  let isDecimal = /\.\d/.test(mantissa);
  if (exponent !== undefined) {
    const power = rational(10n ** BigInt(Math.abs(Number(exponent))));
    value = Number(exponent) < 0 ? divideRational(value, power)! : multiplyRational(value, power);
  }
  if (mantissa.includes('.') && ['overline', 'bar'].includes(reader.peek()?.text ?? '')) {
    value = addRational(value, parseRepeating(reader, mantissa));
    isDecimal = false; // exact
  }
  if (!reader.takeMark('_')) return { kind: 'number', value, isDecimal };
  return { kind: 'number', value, isDecimal, base: readRaw(reader).replace(/[^a-z0-9]/gi, '') };
}

/** What \overline{6} adds to 0.1: digits that repeat without end. */
function parseRepeating(reader: Reader, mantissa: string): Rational {
  const numDecimals = mantissa.split('.')[1].length;
  reader.next();
  const digits = readRaw(reader);
  if (!/^\d{1,12}$/.test(digits)) throw new UnreadableAnswer('a bar over no digits');
  return rational(BigInt(digits), 10n ** BigInt(numDecimals) * (10n ** BigInt(digits.length) - 1n));
}

function parseSymbol(reader: Reader, letter: string): Expression {
  if (reader.takeMark('_')) return { kind: 'symbol', name: `${letter.toLowerCase()}_${readRaw(reader)}` };
  if (letter === 'e' || letter === 'i') return { kind: 'constant', name: letter };
  return { kind: 'symbol', name: letter.length === 1 ? letter.toLowerCase() : letter };
}

/** The text of one token or of one group in braces. */
function readRaw(reader: Reader): string {
  if (!reader.takeMark('{')) return reader.next().text;
  let text = '';
  for (let depth = 1; ; ) {
    const token = reader.next();
    if (token.text === '{') depth++;
    if (token.text === '}' && --depth === 0) return text;
    text += token.text;
  }
}

/** What a command acts on: a group, or one digit or symbol (`\frac12`, `\sqrt2`). */
function parseArgument(reader: Reader, grammar: Grammar): Expression {
  const token = reader.peek();
  if (token?.kind !== 'number' || token.text.length === 1) {
    return reader.nested(() => parsePrimary(reader, grammar));
  }
  return parsePrimary(reader, grammar);
}

function parseFunction(reader: Reader, grammar: Grammar, name: FunctionName): Expression {
  if (!reader.takeMark('^')) return apply(name, parseFunctionArgument(reader, grammar));
  const power = parseArgument(reader, grammar);
  const argument = parseFunctionArgument(reader, grammar);
  const isInverse =
    power.kind === 'apply' &&
    power.name === 'negate' &&
    ['sin', 'cos', 'tan'].includes(name) &&
    isOne(power.operands[0]);
  return isInverse ? apply(`arc${name}` as FunctionName, argument) : apply('power', apply(name, argument), power);
}

function isOne(expression: Expression): boolean {
  return expression.kind === 'number' && expression.value.numerator === 1n && expression.value.denominator === 1n;
}

/** A bracket, or the factors up to the next sign or function: \sin 2x\cos x has the arguments 2x and x. */
function parseFunctionArgument(reader: Reader, grammar: Grammar): Expression {
  if (reader.peekSign() === '-') {
    reader.next();
    return apply('negate', parseFunctionArgument(reader, grammar));
  }
  const isBracket = reader.peek()?.text === '(' || reader.peek()?.text === '{';
  if (isBracket) return parsePrimary(reader, grammar);
  let argument = grammar.parsePower(reader);
  while (reader.startsFactor()) {
    const token = reader.peek()!;
    if (token.kind === 'mark' || (FUNCTION_NAMES as readonly string[]).includes(token.text)) break;
    argument = apply('multiply', argument, grammar.parsePower(reader));
  }
  return argument;
}

/** \max(a, b, …), also with braces around a set. */
function parseSeveral(reader: Reader, grammar: Grammar, name: 'max' | 'min' | 'gcd' | 'lcm'): Expression {
  const argument = parsePrimary(reader, grammar);
  return apply(name, ...(argument.kind === 'list' ? argument.items : [argument]));
}

function closedBy(reader: Reader, closing: string, wrap: (inner: Expression) => Expression): Expression {
  const inner = reader.parseFormula();
  reader.expectMark(closing);
  return wrap(inner);
}

function parseSet(reader: Reader, grammar: Grammar, closing: string): Expression {
  if (reader.peek()?.text === closing) {
    reader.next();
    return { kind: 'list', style: 'set', items: [] };
  }
  const items = grammar.parseItems(reader, { expand: true });
  reader.expectMark(closing);
  return { kind: 'list', style: 'set', items };
}

function parseBracket(reader: Reader, mark: string, grammar: Grammar): Expression {
  if (mark === 'set(') return parseSet(reader, grammar, ')set');
  if (mark === '|') return reader.insideBars(() => closedBy(reader, '|', (inner) => apply('abs', inner)));
  if (mark === '{') {
    const items = grammar.parseItems(reader);
    if (items.length === 1 && reader.peek()?.text === 'over') {
      reader.next();
      const denominator = reader.parseFormula();
      reader.expectMark('}');
      return apply('divide', items[0], denominator);
    }
    reader.expectMark('}');
    return items.length === 1 ? items[0] : { kind: 'list', style: 'set', items };
  }
  if (mark !== '(' && mark !== '[') throw new UnreadableAnswer(mark);
  const items = grammar.parseItems(reader);
  const closing = reader.expectMark(...CLOSING[mark]);
  if (items.length === 1) return items[0];
  if (items.length === 2 && (mark === '[' || closing === ']')) {
    const [lower, upper] = items;
    return { kind: 'interval', lower, upper, lowerOpen: mark === '(', upperOpen: closing === ')' };
  }
  return { kind: 'list', style: 'tuple', items };
}

/** \begin{pmatrix} a & b \\ c & d \end{pmatrix}, and its kin; vmatrix is the determinant. */
function parseEnvironment(reader: Reader, grammar: Grammar): Expression {
  const name = readRaw(reader);
  if (!/^(?:[pbBv]?matrix|smallmatrix|array)$/.test(name)) throw new UnreadableAnswer(`\\begin{${name}}`);
  if (name === 'array' && reader.peek()?.text === '{') readRaw(reader);
  const rows: Expression[][] = [[]];
  while (reader.peek()?.text !== 'end') {
    if (reader.takeMark('row')) rows.push([]);
    else if (!reader.takeMark('&')) rows.at(-1)!.push(grammar.parseItems(reader)[0]);
  }
  reader.next();
  readRaw(reader);
  const filled = rows.filter((row) => row.length > 0);
  return name === 'vmatrix' ? determinant(filled) : { kind: 'matrix', rows: filled };
}

/** By expansion along the first row, up to 5 × 5. */
function determinant(rows: readonly (readonly Expression[])[]): Expression {
  if (rows.length > 5 || rows.some((row) => row.length !== rows.length)) throw new UnreadableAnswer('a determinant');
  if (rows.length === 1) return rows[0][0];
  const terms = rows[0].map((entry, column) => {
    const minor = rows.slice(1).map((row) => row.filter((_, index) => index !== column));
    const term = apply('multiply', entry, determinant(minor));
    return column % 2 === 0 ? term : apply('negate', term);
  });
  return apply('add', ...terms);
}
