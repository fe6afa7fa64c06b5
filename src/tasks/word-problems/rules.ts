/** One-line rules that answer word problems from their numbers alone: what a model has to beat. */
import { isAnswer } from './equation.js';

const RULES: readonly { readonly name: string; readonly guess: (numbers: readonly number[]) => number }[] = [
  { name: 'sum of the numbers', guess: (numbers) => numbers.reduce((sum, value) => sum + value, 0) },
  { name: 'first minus second', guess: ([first, second]) => first - second },
  { name: 'largest minus smallest', guess: (numbers) => Math.max(...numbers) - Math.min(...numbers) },
  { name: 'product of the first two', guess: ([first, second]) => first * second },
  { name: 'first divided by second', guess: ([first, second]) => first / second },
];

interface NumberQuestion {
  readonly question: string;
  readonly answer: string;
}

/** The numbers of a text, in its order; those in words are not read. */
export const numbersIn = (text: string): number[] =>
  [...text.matchAll(/\d[\d,]*(?:\.\d+)?|\.\d+/g)].map(([written]) => Number(written.replaceAll(',', '')));

/**
 * How many questions each rule answers; a question without the numbers that a rule needs counts as wrong. None where not all
 * answers are numbers.
 */
export function countRules(questions: readonly NumberQuestion[]): { name: string; correct: number; total: number }[] {
  if (questions.length === 0 || !questions.every(({ answer }) => /^-?[\d,]*\.?\d+$/.test(answer))) return [];
  const read = questions.map(({ question, answer }) => ({ numbers: numbersIn(question), answer }));
  return RULES.map(({ name, guess }) => ({
    name,
    correct: read.filter(({ numbers, answer }) => numbers.length > 0 && isAnswer(guess(numbers), answer)).length,
    total: questions.length,
  }));
}
