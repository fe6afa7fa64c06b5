/** Graded responses to accuracies. */
import { type Interval, wilsonInterval } from './intervals.js';

/** A response and what its answers were worth. */
export interface GradedResponse {
  /** False where it ran to its limit of tokens. */
  readonly isFinished: boolean;
  /** Whether its answer stood in a box. */
  readonly isBoxed: boolean;
  /** Whether the answer that was found, in a box or by the fallback rules, is right. */
  readonly isCorrect: boolean;
  /** Whether its box, or the answer that was forced where it had none, is right; undefined where nothing was forced. */
  readonly isCorrectForced?: boolean | undefined;
}

/** correct / total with its 95 % interval, in 0–1. */
export interface Accuracy extends Interval {
  readonly correct: number;
  readonly total: number;
}

/** The same count over all responses, over those that ended by themselves, and over those that were cut off. */
export interface SplitAccuracy {
  readonly all: Accuracy;
  readonly finished: Accuracy;
  readonly truncated: Accuracy;
}

export interface TaskAccuracy {
  readonly numResponses: number;
  readonly numBoxed: number;
  /** Only an answer in a box counts. */
  readonly boxed: SplitAccuracy;
  /** A box, or else what the fallback rules find. */
  readonly fallback: SplitAccuracy;
  /** A box, or else the answer that was forced; null where nothing was forced. */
  readonly forced: SplitAccuracy | null;
}

/** Counts three ways of reading the same responses; the denominator is the same for all of them. */
export function measureAccuracy(responses: readonly GradedResponse[]): TaskAccuracy {
  const isForced = responses.some(({ isCorrectForced }) => isCorrectForced !== undefined);
  return {
    numResponses: responses.length,
    numBoxed: responses.filter(({ isBoxed }) => isBoxed).length,
    boxed: split(responses, ({ isBoxed, isCorrect }) => isBoxed && isCorrect),
    fallback: split(responses, ({ isCorrect }) => isCorrect),
    forced: isForced ? split(responses, ({ isCorrectForced }) => isCorrectForced === true) : null,
  };
}

type Predicate = (response: GradedResponse) => boolean;

function split(responses: readonly GradedResponse[], isRight: Predicate): SplitAccuracy {
  const count = (part: readonly GradedResponse[]): Accuracy => {
    const correct = part.filter(isRight).length;
    return { correct, total: part.length, ...wilsonInterval(correct, part.length) };
  };
  return {
    all: count(responses),
    finished: count(responses.filter(({ isFinished }) => isFinished)),
    truncated: count(responses.filter(({ isFinished }) => !isFinished)),
  };
}
