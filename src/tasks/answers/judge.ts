/** Two texts to a verdict: the synchronous core of grading. It takes no clock; `createGrader` gives it a time limit. */
import { areEquivalent } from './equivalent.js';
import { type ExtractedAnswer, extractAnswer, markedAnswer } from './extract.js';
import { normalizeAnswer } from './normalize.js';
import { parseAnswer } from './parse.js';
import { lettersOf } from './parse-primary.js';
import { stripUnits } from './units.js';

export interface Judgement {
  readonly equal: boolean;
  /** How the actual answer was found; `whole` where the text is nothing but an answer. */
  readonly rule: ExtractedAnswer['rule'] | 'whole';
  readonly answer: string;
}

/** Longest answer that is looked into, in characters; longer ones are equal only where they are the same text. */
const MAX_LENGTH = 4000;

/** Longer texts than this, without a box or a mark, are responses and no answers, in characters. */
const MAX_BARE_ANSWER = 400;

/**
 * Compares an actual text with the expected answer. Both may be bare answers, or texts that end with one (`#### 18`, `\boxed{18}`,
 * "the answer is 18").
 */
export function judgeAnswer(expected: string, actual: string): Judgement {
  const gold = bareAnswer(expected)?.answer ?? extractAnswer(expected).answer;
  const bare = bareAnswer(actual);
  if (bare !== undefined) {
    const equal = equalAnswers(gold, bare.answer);
    if (equal || !isProse(bare.answer)) return { equal, ...bare };
  }
  const extracted = extractAnswer(actual);
  return { equal: equalAnswers(gold, extracted.answer), ...extracted };
}

/** True where two answers, without text around them, mean the same. */
export function equalAnswers(expected: string, actual: string): boolean {
  if (Math.max(expected.length, actual.length) > MAX_LENGTH) return expected.trim() === actual.trim();
  const [gold, given] = [unwrapNumbers(normalizeAnswer(expected)), unwrapNumbers(normalizeAnswer(actual))];
  if (gold === '' || given === '') return false;
  if (compact(gold) === compact(given)) return true;
  const letter = choiceOf(gold, { isExpected: true });
  if (letter !== undefined && choiceOf(given, { isExpected: false }) === letter) return true;
  const sameNumber = gold.split(',').length === given.split(',').length;
  if (sameNumber && (isWords(gold) || isWords(given))) {
    if (wordsOf(gold) === wordsOf(given)) return wordsOf(gold) !== '';
    if (isText(gold) && isText(given)) return false;
  }
  if (equalFormulas(gold, given)) return true;
  const [bareGold, bareGiven] = [stripUnits(gold), stripUnits(given)];
  if ((bareGold !== gold || bareGiven !== given) && equalFormulas(bareGold, bareGiven)) return true;
  // A lone letter after a number is a unit only where the other answer has none.
  if (/^[^a-zA-Z]*$/.test(bareGold)) return equalFormulas(bareGold, stripUnits(given, { letters: true }));
  return /^[^a-zA-Z]*$/.test(bareGiven) && equalFormulas(stripUnits(gold, { letters: true }), bareGiven);
}

/** What stands alone or is marked; undefined for a text in which an answer has to be looked for. */
function bareAnswer(text: string): { rule: Judgement['rule']; answer: string } | undefined {
  if (/\\(?:boxed|fbox)/.test(text)) return undefined;
  const marked = markedAnswer(text);
  if (marked !== undefined) return { rule: 'fallback', answer: marked };
  const trimmed = text.trim();
  if (trimmed.length > MAX_BARE_ANSWER || trimmed === '') return undefined;
  return { rule: 'whole', answer: trimmed };
}

/** True where a text has words beside what may be its answer. */
function isProse(text: string): boolean {
  return (text.replace(/\\[a-zA-Z]+/g, ' ').match(/[a-zA-Z]{2,}/g) ?? []).length >= 2;
}

function equalFormulas(expected: string, actual: string): boolean {
  if (compact(expected) === compact(actual)) return true;
  const [gold, given] = [parseAnswer(expected), parseAnswer(actual)];
  return gold !== undefined && given !== undefined && areEquivalent(gold, given);
}

function compact(text: string): string {
  return text.replace(/\s+/g, '');
}

/** \text{5} and \text{5 apples} are numbers. */
function unwrapNumbers(text: string): string {
  return text.replace(/\\text\s*\{\s*(-?[\d.,/]+(?:\s+[a-zA-Z ]+)?)\s*\}/g, '$1');
}

const TEXT = /^[\s(]*(?:\\text\s*\{[^{}]*\}[\s,.)]*)+$/;
const PLAIN_WORDS = /^[\s(]*[a-zA-Z][a-zA-Z'’\s.)-]*$/;

/** True for an answer of words or letters, set as text or not. */
function isWords(text: string): boolean {
  return TEXT.test(text) || PLAIN_WORDS.test(text);
}

/** True for words that are no product of variables. */
function isText(text: string): boolean {
  return TEXT.test(text) || (PLAIN_WORDS.test(text) && /[a-zA-Z]{4}|[a-zA-Z]{2}\s+[a-zA-Z]/.test(text));
}

function wordsOf(text: string): string {
  return lettersOf(text.replace(/\\text\s*/g, ''));
}

/** The letter of a multiple choice: `B`, `(B)`, `\text{(B)}`; where it is the actual answer also `B. 12` and `(B) twelve`. */
function choiceOf(text: string, { isExpected }: { isExpected: boolean }): string | undefined {
  const plain = text.replace(/\\text\s*\{([^{}]*)\}/g, '$1').trim();
  const alone = /^\(?([A-J])\)?[.:]?$/.exec(plain)?.[1];
  if (alone !== undefined || isExpected) return alone;
  return /^(?:\(([A-J])\)|([A-J])[.):])\s*\S/.exec(plain)?.slice(1).find(Boolean);
}
