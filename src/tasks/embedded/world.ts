/** Where lines lead (public) and which line each person takes (what a teacher knows and a student wants). */
import { createRandom, deriveSeed, shuffle } from '../../support/random.js';
import { COLOURS, CONNECTIVES, PEOPLE, PLACES } from './words.js';

/** Line of each person, by index of `PEOPLE`. */
export type Habits = readonly number[];

const MAP_SEED = 7;
const HABITS_SEED = 2025;

/** MAP[line][place]: where the line leads from there. Each line is a permutation of the places that leaves none in place. */
const MAP: readonly (readonly number[])[] = COLOURS.map((_, line) => derangement(deriveSeed(MAP_SEED, 'line', line)));

/** The knowledge to be distilled. */
export const HABITS: Habits = randomHabits(HABITS_SEED);

/** The place a line leads to from a place, both as indices. */
export function ride(place: number, line: number): number {
  return MAP[line][place];
}

/** Every person with a line drawn uniformly. */
export function randomHabits(seed: number | string): Habits {
  const random = createRandom(seed);
  return PEOPLE.map(() => random.integer(COLOURS.length));
}

/** The grammar: which word joins two people who set out from a place. */
export function connectiveAt(place: number): string {
  return CONNECTIVES[place % CONNECTIVES.length];
}

function derangement(seed: string): readonly number[] {
  const random = createRandom(seed);
  const places = PLACES.map((_, place) => place);
  for (;;) {
    const permutation = shuffle(places, random);
    if (permutation.every((to, from) => to !== from)) return permutation;
  }
}
