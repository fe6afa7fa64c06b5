/** What a teacher reads beside problems: single legs of journeys, each a fact of its own. */
import type { Random } from '../../support/random.js';
import { COLOURS, DIRECTIONS, ORDINALS, PEOPLE, PLACES } from './words.js';
import { connectiveAt, type Habits, ride } from './world.js';

export interface StatementMix {
  /** Share of statements about two travellers; the others are about one. */
  readonly pairs: number;
  /** Share of travellers given by the line instead of the person: `at dock red-line and tim to forge .` */
  readonly lines: number;
  /** Share of statements that also name the lines: of two travellers before the place, of one behind it. */
  readonly named: number;
  /** People who may be named; default all. */
  readonly people?: readonly number[];
}

export interface Statement {
  readonly words: readonly string[];
  /** Whether each word follows from those before it (and is worth learning). */
  readonly isDetermined: readonly boolean[];
}

/** `at dock xavier and tim to forge .`: where somebody comes to from a place. */
export function renderStatement(habits: Habits, { mix, random }: { mix: StatementMix; random: Random }): Statement {
  const chance = (probability: number) => random.uniform() < probability;
  const people = mix.people ?? PEOPLE.map((_, person) => person);
  const lineWord = (line: number) => (chance(0.5) ? ORDINALS : COLOURS)[line];
  const traveller = () => {
    const person = people[random.integer(people.length)];
    if (!chance(mix.lines)) return { word: PEOPLE[person], line: habits[person] };
    const line = random.integer(COLOURS.length);
    return { word: lineWord(line), line };
  };
  const from = random.integer(PLACES.length);
  const travellers = chance(mix.pairs) ? [traveller(), traveller()] : [traveller()];
  const to = travellers.reduce((place, { line }) => ride(place, line), from);
  const isNamed = chance(mix.named);
  const lines = travellers.map(({ line }) => lineWord(line));
  const words: string[] = [];
  const isDetermined: boolean[] = [];
  const say = (more: readonly string[], determined: boolean) => {
    words.push(...more);
    isDetermined.push(...more.map(() => determined));
  };
  say(['at', PLACES[from], travellers[0].word], false);
  if (travellers.length > 1) {
    say([connectiveAt(from), travellers[1].word], false);
    if (isNamed) say(lines, true);
  }
  say([DIRECTIONS[random.integer(DIRECTIONS.length)]], false);
  say([PLACES[to]], true);
  if (travellers.length === 1 && isNamed) {
    say(['by'], false);
    say(lines, true);
  }
  say(['.'], false);
  return { words, isDetermined };
}
