/** Which questions a distillation run learns from, and which it does not. */
import { ConfigError, DataError } from '../../support/errors.js';
import type { Purpose, Question, Task } from '../task.js';

export interface QuestionSplit {
  /** The first `count` questions of a purpose that belong to the distribution. */
  inside(purpose: Purpose, count: number): Promise<readonly Question[]>;
  /** Those that do not; none where there is no other distribution. */
  outside(purpose: Purpose, count: number): Promise<readonly Question[]>;
}

/** Errors: ConfigError for a pattern that is none. */
export function splitQuestions(task: Task, pattern: string | undefined, other: Task | undefined): QuestionSplit {
  if (pattern === undefined) {
    return {
      inside: (purpose, count) => task.questions(purpose, count),
      outside: async (purpose, count) => (other === undefined ? [] : other.questions(purpose, count)),
    };
  }
  if (other !== undefined) throw new ConfigError('Give either inDistribution or outOfDistribution, not both.');
  let expression: RegExp;
  try {
    expression = new RegExp(pattern);
  } catch {
    throw new ConfigError(`inDistribution: ${JSON.stringify(pattern)} is not a regular expression.`);
  }
  const select = async (purpose: Purpose, count: number, isInside: boolean): Promise<readonly Question[]> => {
    for (let asked = 2 * count; ; asked *= 2) {
      const found = (await task.questions(purpose, asked)).filter(({ text }) => expression.test(text) === isInside);
      if (found.length >= count) return found.slice(0, count);
      if (asked > MOST_TIMES * count)
        throw new DataError(
          `inDistribution: of ${asked} ${purpose} questions only ${found.length} ${isInside ? 'match' : 'do not match'} ${JSON.stringify(pattern)}; ${count} are needed.`,
        );
    }
  };
  return {
    inside: (purpose, count) => select(purpose, count, true),
    outside: (purpose, count) => select(purpose, count, false),
  };
}

/** Questions looked at for each that is wanted. */
const MOST_TIMES = 64;
