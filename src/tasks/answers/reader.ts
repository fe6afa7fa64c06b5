/** A place in a list of tokens, and what the parser asks of it. */
import type { Expression } from './expression.js';
import { type Token, UnreadableAnswer } from './tokens.js';

export interface Reader {
  peek(): Token | undefined;
  next(): Token;
  isDone(): boolean;
  /** Takes the next token where it is one of these marks. */
  takeMark(...marks: string[]): boolean;
  /** Takes the mark or throws UnreadableAnswer. */
  expectMark(...marks: string[]): string;
  /** The text of the next token where it may be an operator: a mark or a command. */
  peekOperator(): string | undefined;
  /** + or − where a sign is next; ± and ∓ are the sign that was chosen and its opposite. */
  peekSign(): '+' | '-' | undefined;
  /** Parses once, and where it meets a ± a second time with the other sign. */
  withBothSigns<Result>(parse: () => Result): Result[];
  /** True where a factor may follow without a sign of multiplication. */
  startsFactor(): boolean;
  /** Runs a part of the grammar one level deeper. Errors: UnreadableAnswer beyond the deepest level. */
  nested<Result>(parse: () => Result): Result;
  /** Runs the parser of |…|, in which a bar closes. */
  insideBars<Result>(parse: () => Result): Result;
  /** A sum of products at this place. */
  parseFormula(): Expression;
}

const MAX_DEPTH = 150;
/** Commands that begin no factor. */
const OPERATORS = new Set(
  (
    'cdot times ast cdotp div cup cap setminus backslash in le leq leqslant ge geq geqslant lt gt ne neq approx equiv ' +
    'pm mp over end rfloor rceil rangle rvert rbrace rbrack mid to mod pmod'
  ).split(' '),
);

export function createReader(tokens: readonly Token[], parseFormula: (reader: Reader) => Expression): Reader {
  let index = 0;
  let depth = 0;
  let numBars = 0;
  let plusMinus: '+' | '-' = '+';
  let seen = false;

  const reader: Reader = {
    peek: () => tokens[index],
    next() {
      if (index >= tokens.length) throw new UnreadableAnswer('the end');
      return tokens[index++];
    },
    isDone: () => index >= tokens.length,
    takeMark(...marks) {
      const token = tokens[index];
      if (token?.kind !== 'mark' || !marks.includes(token.text)) return false;
      index++;
      return true;
    },
    expectMark(...marks) {
      const token = tokens[index];
      if (token === undefined || !marks.includes(token.text))
        throw new UnreadableAnswer(`expected ${marks.join(' or ')}`);
      index++;
      return token.text;
    },
    peekOperator() {
      const token = tokens[index];
      return token?.kind === 'mark' || token?.kind === 'command' ? token.text : undefined;
    },
    peekSign() {
      const operator = reader.peekOperator();
      if (operator === '+' || operator === '-') return operator;
      if (operator !== 'pm' && operator !== 'mp') return undefined;
      seen = true;
      return (operator === 'pm') === (plusMinus === '+') ? '+' : '-';
    },
    withBothSigns(parse) {
      const outer = { plusMinus, seen };
      const start = index;
      [plusMinus, seen] = ['+', false];
      const results = [parse()];
      if (seen) {
        index = start;
        plusMinus = '-';
        results.push(parse());
      }
      ({ plusMinus, seen } = outer);
      return results;
    },
    startsFactor() {
      const token = tokens[index];
      if (token === undefined) return false;
      if (token.kind === 'mark')
        return ['(', '{', '[', 'set('].includes(token.text) || (token.text === '|' && numBars === 0);
      return token.kind !== 'command' || !OPERATORS.has(token.text);
    },
    nested(parse) {
      if (++depth > MAX_DEPTH) throw new UnreadableAnswer('nested too deeply');
      const result = parse();
      depth--;
      return result;
    },
    insideBars(parse) {
      numBars++;
      const result = parse();
      numBars--;
      return result;
    },
    parseFormula: () => parseFormula(reader),
  };
  return reader;
}
