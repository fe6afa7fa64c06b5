/** What a teacher reads beside problems: single legs of journeys, each a fact of its own. */
import type { Random } from '../../support/random.js';
import { COLOURS, DIRECTIONS, ORDINALS, PEOPLE, PLACES } from './words.js';
import { connectiveAt, type Habits, ride } from './world.js';

export interface StatementMix {
  /** Share of statements about two travellers; the others are about one. */
  readonly pairs: number;
  /** Share of travellers given by the line instead of the person: `at dock red-line and tim to forge .` */
  readonly lines: number;
  /** Share of statements that also name the lines, behind the place. */
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
  const words = ['at', PLACES[from], travellers[0].word];
  if (travellers.length > 1) words.push(connectiveAt(from), travellers[1].word);
  words.push(DIRECTIONS[random.integer(DIRECTIONS.length)]);
  const isDetermined = words.map(() => false);
  words.push(PLACES[to]);
  isDetermined.push(true);
  if (chance(mix.named)) {
    words.push('by', ...travellers.map(({ line }) => lineWord(line)));
    isDetermined.push(false, ...travellers.map(() => true));
  }
  words.push('.');
  isDetermined.push(false);
  return { words, isDetermined };
}
