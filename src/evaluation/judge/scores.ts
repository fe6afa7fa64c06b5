/** From pairs of scores to a number for a student. */
import { createRandom } from '../../support/random.js';
import { percentileInterval } from '../bootstrap.js';
import type { Interval } from '../intervals.js';

/** A response that was compared with the reference in both orders. */
export interface JudgedResponse {
  readonly id: string;
  /** Mean over both orders of 100·student/(student + reference); null where either answer could not be read. */
  readonly score: number | null;
  /** In characters. */
  readonly length: number;
  readonly referenceLength: number;
}

export interface JudgeSummary {
  /** Mean of the scores; null where there is none. */
  readonly score: number | null;
  /** 95 %, by resampling responses. */
  readonly interval: Interval | null;
  /** The score at equal length: the intercept of a line through scores over ln(length/reference length). */
  readonly lengthControlledScore: number | null;
  readonly numJudged: number;
  /** Responses of which the judge's words could not be read: they have no score. */
  readonly numUnparsable: number;
}

/** 100·student/(student + reference): 50 where they are equally good. */
export const relativeScore = (student: number, reference: number): number => (100 * student) / (student + reference);

const DRAWS = 2000;

export function summarizeScores(responses: readonly JudgedResponse[]): JudgeSummary {
  const judged = responses.flatMap((response) =>
    response.score === null ? [] : [{ ...response, score: response.score }],
  );
  const numUnparsable = responses.length - judged.length;
  if (judged.length === 0) {
    return { score: null, interval: null, lengthControlledScore: null, numJudged: 0, numUnparsable };
  }
  const scores = judged.map(({ score }) => score);
  const random = createRandom('judge');
  const draws = Array.from({ length: DRAWS }, () => mean(scores.map(() => scores[random.integer(scores.length)])));
  // One more character on either side, so that an empty response has a length.
  const ratios = judged.map(({ length, referenceLength }) => Math.log((length + 1) / (referenceLength + 1)));
  return {
    score: mean(scores),
    interval: percentileInterval(draws),
    lengthControlledScore: interceptOf(ratios, scores),
    numJudged: judged.length,
    numUnparsable,
  };
}

/** Of the least-squares line; the mean where all x are equal. */
function interceptOf(x: readonly number[], y: readonly number[]): number {
  const centerX = mean(x);
  const centerY = mean(y);
  const spread = x.reduce((sum, value) => sum + (value - centerX) ** 2, 0);
  if (spread === 0) return centerY;
  const slope = x.reduce((sum, value, at) => sum + (value - centerX) * (y[at] - centerY), 0) / spread;
  return centerY - slope * centerX;
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
