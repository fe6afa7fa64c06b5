/** A normalised answer as tokens. */
import { FUNCTION_NAMES } from './expression.js';

export type Token =
  | { readonly kind: 'number'; readonly text: string; readonly spaceBefore: boolean }
  | { readonly kind: 'letter'; readonly text: string; readonly spaceBefore: boolean }
  /** A command without its backslash (`frac`, `pi`), or a word that stands for one (`sqrt`, `sin`). */
  | { readonly kind: 'command'; readonly text: string; readonly spaceBefore: boolean }
  /** The content of `\text{…}`. */
  | { readonly kind: 'text'; readonly text: string; readonly spaceBefore: boolean }
  | { readonly kind: 'mark'; readonly text: string; readonly spaceBefore: boolean };

/** Thrown where an answer is no formula that the parser knows. */
export class UnreadableAnswer extends Error {}

const WORDS = new Set<string>([...FUNCTION_NAMES, 'sqrt', 'pi', 'infty', 'inf']);
const MARKS = new Set([..."+-*/^_(){}[]|,;:=<>!%°&'"]);
const ESCAPED = new Map([
  ['{', 'set('],
  ['}', ')set'],
  ['|', '|'],
  ['\\', 'row'],
]);

/** Errors: UnreadableAnswer for a character that no formula has. */
export function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  let index = 0;
  let depth = 0; // of brackets: inside them a comma divides, outside it may group digits
  let spaceBefore = false;
  const push = (kind: Token['kind'], value: string, length: number) => {
    tokens.push({ kind, text: value, spaceBefore });
    spaceBefore = false;
    index += length;
  };
  while (index < text.length) {
    const rest = text.slice(index, index + 64);
    const character = text[index];
    if (character === ' ') {
      spaceBefore = true;
      index++;
    } else if (/[\d.]/.test(character)) {
      const number = readNumber(text, index, depth);
      push('number', number.value, number.length);
    } else if (/[a-zA-Z]/.test(character)) {
      const word = /^[a-zA-Z]+/.exec(rest)![0];
      const known = WORDS.has(word) ? word : knownPrefix(word);
      if (known !== undefined) push('command', known, known.length);
      else push('letter', character, 1);
    } else if (character === '\\') {
      const command = /^\\([a-zA-Z]+)/.exec(rest)?.[1];
      if (command === 'text') {
        const group = /^\\text\s*\{([^{}]*)\}/.exec(text.slice(index));
        if (group === null) throw new UnreadableAnswer('\\text without braces');
        push('text', group[1], group[0].length);
      } else if (command !== undefined) push('command', command, command.length + 1);
      else {
        const mark = ESCAPED.get(text[index + 1]);
        if (mark === undefined) throw new UnreadableAnswer(`\\${text[index + 1]}`);
        if (mark === 'set(') depth++;
        if (mark === ')set') depth--;
        push('mark', mark, 2);
      }
    } else if (MARKS.has(character)) {
      if (character === '(' || character === '[') depth++;
      if (character === ')' || character === ']') depth--;
      push('mark', character, 1);
    } else throw new UnreadableAnswer(`the character ${character}`);
  }
  return tokens;
}

/** A function's name at the head of a run of letters, as in `sinx`. */
function knownPrefix(word: string): string | undefined {
  return ['sqrt', 'sin', 'cos', 'tan', 'ln', 'log'].find(
    (name) => word.startsWith(name) && word.length === name.length + 1,
  );
}

/** A number from `index` on: digits with commas between groups of three where no bracket is open, and one point. */
function readNumber(text: string, index: number, depth: number): { value: string; length: number } {
  const rest = text.slice(index);
  const grouped = depth === 0 ? /^\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?/.exec(rest)?.[0] : undefined;
  if (grouped !== undefined) return { value: grouped.replaceAll(',', ''), length: grouped.length };
  const scientific = /^\d+(?:\.\d+)?[eE][+-]?\d+(?![a-zA-Z\d])/.exec(rest)?.[0];
  const plain = scientific ?? /^(?:\d+(?:\.\d+)?\.?(?!\d)|\.\d+)/.exec(rest)?.[0];
  if (plain === undefined) throw new UnreadableAnswer('a point without digits');
  return { value: plain, length: plain.length };
}
