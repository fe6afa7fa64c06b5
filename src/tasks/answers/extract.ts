/** The answer of a text. */

export interface ExtractedAnswer {
  /**
   * Which rule found it. boxed: the last `\boxed{…}`. fallback: `#### x`, "the answer is x", a last line `A: x`, or else the last
   * formula or number. none: nothing that could be an answer.
   */
  readonly rule: 'boxed' | 'fallback' | 'none';
  readonly answer: string;
}

/** Boxes with so little between them are one answer: \boxed{1} and \boxed{2}. */
const MAX_GAP = 9;

const NUMBER = /-?(?:\$\s?)?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d))(?:\s*\/\s*\d+)?\s?%?/g;

/** Formulas of at most 1000 characters: the bound keeps the search linear where signs are not closed. */
const FORMULA =
  /\$\$([^$]{1,1000})\$\$|(?<![\\\d])\$((?:\\\$|[^$\n]){1,1000})\$(?!\d)|\\\((.{1,1000}?)\\\)|\\\[([\s\S]{1,1000}?)\\\]/g;

/** Finds the answer of a response: the last box with balanced braces, a marked answer, or the last formula or number. */
export function extractAnswer(text: string): ExtractedAnswer {
  const boxed = lastBoxed(text);
  if (boxed !== undefined) return { rule: 'boxed', answer: boxed };
  const answer = markedAnswer(text) ?? lastFormula(text) ?? lastNumber(text);
  return answer === undefined || answer === '' ? { rule: 'none', answer: '' } : { rule: 'fallback', answer };
}

/** The answer that a phrase announces: `#### 18`, "the answer is 18.", "Answer: 18", a last line `A: 18`. */
export function markedAnswer(text: string): string | undefined {
  const hash = text.lastIndexOf('####');
  if (hash >= 0) return firstLine(text.slice(hash + 4));
  const phrase = /^.*\b(?:answer|Answer|ANSWER)\b\**\s*(?:is|=|:|\*\*:)+\**:?\s*(.+)/s.exec(text)?.[1];
  const line = phrase ?? [...text.matchAll(/^[ \t]*A:[ \t]*(\S.*)$/gm)].at(-1)?.[1];
  return line === undefined ? undefined : answerIn(firstLine(line));
}

/** What a sentence begins with that is an answer: a formula in dollar signs, a number, or all of it. */
function answerIn(line: string): string {
  const formula = /^\s*(?:\$\$?([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\])/s.exec(line);
  if (formula !== null && !/^\d[\d,.]*$/.test(line.slice(1))) return formula[1] ?? formula[2] ?? formula[3];
  const sentence = line
    .replace(/\*\*/g, '')
    .replace(/\.\s+[A-Z].*$/, '') // the next sentence
    .replace(/\s*I hope .*$/, '')
    .replace(/[.\s]+$/, '')
    .trim();
  // "10 apples and I am sure": a number with a sentence behind it, not with a unit.
  return /^([$€£]?-?[\d.,/]*\d%?)(?:\s+[a-zA-Z]+){3,}/.exec(sentence)?.[1] ?? sentence;
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0].trim();
}

/** The last `\boxed` or `\fbox`; where several stand close together, all of them, divided by commas. */
function lastBoxed(text: string): string | undefined {
  const found: string[] = [];
  const closing = matchBraces(text);
  let end = text.length;
  for (;;) {
    const start = lastBox(text, end);
    if (start === undefined) break;
    const content = contentOf(text, start, closing);
    if (content === undefined) {
      if (found.length === 0)
        end = start; // cut off: an earlier box may be whole
      else break;
      continue;
    }
    if (found.length > 0 && end - content.end > MAX_GAP) break;
    if (found[0] !== content.text) found.unshift(content.text);
    end = start;
  }
  const answer = found.join(',').trim();
  return answer === '' ? undefined : answer;
}

function lastBox(text: string, end: number): number | undefined {
  if (end <= 0) return undefined;
  const start = Math.max(text.lastIndexOf('\\boxed', end - 1), text.lastIndexOf('\\fbox', end - 1));
  return start < 0 ? undefined : start;
}

/** The content of the box at `start`; undefined where its brace is not closed. */
function contentOf(
  text: string,
  start: number,
  closing: ReadonlyMap<number, number>,
): { text: string; end: number } | undefined {
  const head = /^\\(?:boxed|fbox)\s*/.exec(text.slice(start, start + 32))![0];
  const index = start + head.length;
  if (text[index] !== '{') {
    const word = /^\S+?(?=[\s$.,;]|$)/.exec(text.slice(index, index + 64))?.[0];
    return word === undefined ? undefined : { text: word, end: index + word.length };
  }
  const end = closing.get(index);
  return end === undefined ? undefined : { text: text.slice(index + 1, end).trim(), end: end + 1 };
}

/** Where each opening brace closes, `\{` and `\}` left out. */
function matchBraces(text: string): Map<number, number> {
  const closing = new Map<number, number>();
  const open: number[] = [];
  for (let index = 0; index < text.length; index++) {
    if (text[index] === '\\') index++;
    else if (text[index] === '{') open.push(index);
    else if (text[index] === '}' && open.length > 0) closing.set(open.pop()!, index);
  }
  return closing;
}

function lastFormula(text: string): string | undefined {
  const formulas = [...text.matchAll(FORMULA)];
  const last = formulas.at(-1);
  return (last?.[1] ?? last?.[2] ?? last?.[3] ?? last?.[4])?.trim();
}

function lastNumber(text: string): string | undefined {
  const numbers = [...text.matchAll(NUMBER)].filter(([match]) => /\d/.test(match));
  return numbers.at(-1)?.[0].trim();
}
