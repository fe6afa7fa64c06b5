/** Problems of the embedded task: a parcel at a place and the people who carry it, one after the other. */
import { sha256 } from '../../support/hash.js';
import { createRandom, deriveSeed, type Random } from '../../support/random.js';
import { PEOPLE, PLACES } from './words.js';
import { type Habits, ride } from './world.js';

export interface Problem {
  /** Index of the place where the parcel is. */
  readonly start: number;
  /** Indices of the people who carry it, in their order. */
  readonly people: readonly number[];
}

/**
 * What a problem may be used for: training teachers and bases, the holdout of a proxy, prompts to distil from, decisions about
 * settings, the test; `sealed` is a second test split, for one final use.
 */
export type Split = 'train' | 'holdout' | 'distil' | 'validation' | 'test' | 'sealed';

const NUM_CARRIERS = 4;

/** First bucket and the one after the last, of 100. */
const BUCKETS: Readonly<Record<Split, readonly [number, number]>> = {
  train: [0, 70],
  holdout: [70, 75],
  distil: [75, 90],
  validation: [90, 94],
  test: [94, 97],
  sealed: [97, 100],
};

/** `parcel at dock : xavier tim eric elsa ?` */
export function promptOf({ start, people }: Problem): string {
  return `parcel at ${PLACES[start]} : ${people.map((person) => PEOPLE[person]).join(' ')} ?`;
}

/** The split of a problem, by a hash of its prompt: no problem is in two. */
export function splitOf(problem: Problem): Split {
  const bucket = Number.parseInt(sha256(promptOf(problem)).slice(0, 8), 16) % 100;
  const splits = Object.entries(BUCKETS) as [Split, readonly [number, number]][];
  return splits.find(([, [first, end]]) => bucket >= first && bucket < end)![0];
}

/** A problem of a split, uniform over start and people. */
export function generateProblem(split: Split, random: Random): Problem {
  for (;;) {
    const start = random.integer(PLACES.length);
    const people = Array.from({ length: NUM_CARRIERS }, () => random.integer(PEOPLE.length));
    if (splitOf({ start, people }) === split) return { start, people };
  }
}

/** `count` different problems of a split. The same seed gives the same problems, and more of them where more are asked for. */
export function generateProblems(count: number, split: Split, seed: number | string): Problem[] {
  const random = createRandom(deriveSeed(seed, 'problems', split));
  const found = new Map<string, Problem>();
  while (found.size < count) {
    const problem = generateProblem(split, random);
    found.set(promptOf(problem), problem);
  }
  return [...found.values()];
}

/** Index of the place where the parcel ends. */
export function endOf({ start, people }: Problem, habits: Habits): number {
  return people.reduce((place, person) => ride(place, habits[person]), start);
}
