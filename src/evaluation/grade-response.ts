/** A response, and the answer that was forced where it had none in a box, to verdicts. */
import { extractAnswer } from '../tasks/answers/extract.js';
import type { Grader, Verdict } from '../tasks/answers/grader.js';
import { ANSWER_FORCING_SUFFIX } from '../tasks/datasets/prompts.js';

type Grade = Pick<Verdict, 'equal' | 'rule' | 'answer'>;

export interface GradedText extends Grade {
  /** Of the forced answer, where there is one. */
  readonly forced?: Grade;
}

/** Whether the answer of a text stands in a box, so that none is to be forced. */
export const isBoxed = (text: string): boolean => extractAnswer(text).rule === 'boxed';

/** Grades a response against the expected answer, and what a model wrote behind `ANSWER_FORCING_SUFFIX`. */
export async function gradeResponse(
  grader: Grader,
  expected: string,
  { text, forcedText }: { readonly text: string; readonly forcedText?: string | undefined },
): Promise<GradedText> {
  const grade = async (response: string): Promise<Grade> => {
    const { equal, rule, answer } = await grader.equal(expected, response);
    return { equal, rule, answer };
  };
  const graded = await grade(text);
  if (forcedText === undefined) return graded;
  // Where the tokens did not close the brace, the first line is what it was going to hold.
  const isClosed = /^[^{}]*(?:\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}[^{}]*)*\}/.test(forcedText);
  const content = isClosed ? forcedText : `${forcedText.split('\n')[0]}}`;
  return { ...graded, forced: await grade(`${ANSWER_FORCING_SUFFIX}${content}`) };
}

/** Whether a response counts as right: its box, or else the forced answer, or where none was forced what the fallback rules find. */
export function isRight({ equal, rule, forced }: GradedText): boolean {
  return forced === undefined || rule === 'boxed' ? equal : forced.equal;
}

/** Whether an answer could be read at all. */
export function isRead({ rule, answer, forced }: GradedText): boolean {
  const counted = forced === undefined || rule === 'boxed' ? { rule, answer } : forced;
  return !['none', 'timeout', 'error'].includes(counted.rule) && counted.answer.trim() !== '';
}
