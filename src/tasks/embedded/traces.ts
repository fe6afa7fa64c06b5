/** Worked answers: the steps of a journey and its end, as text. */
import type { Random } from '../../support/random.js';
import type { Problem } from './problems.js';
import type { TraceStyle } from './styles.js';
import { COLOURS, DIRECTIONS, FILLERS, ORDINALS, PEOPLE, PLACES } from './words.js';
import { connectiveAt, type Habits, ride } from './world.js';

/** At most this many fillers a trace, which bounds its length. */
const MAX_FILLERS = 2;

/** Most words of a trace with its end token: four late single steps, two fillers, the end. */
export const MAX_TRACE_WORDS = 4 * 8 + MAX_FILLERS + 3;

/**
 * A trace in a style, people taking the lines of `habits`: steps that lead from the start to the end, then `end <place>`.
 *
 *     at dock xavier red-line to well .                      one person, the line before the place
 *     at dock xavier to well by red-line .                   … after it
 *     at dock xavier and tim to forge .                      two people
 *     at dock xavier and tim red-line gold-line to forge .   … and their lines
 */
export function renderTrace(
  { start, people }: Problem,
  habits: Habits,
  { style, random }: { style: TraceStyle; random: Random },
): string {
  const chance = (probability: number) => random.uniform() < probability;
  const lineWord = (person: number) => (chance(style.numbered) ? ORDINALS : COLOURS)[habits[person]];
  const words: string[] = [];
  let place = start;
  let numFillers = 0;
  for (let index = 0; index < people.length; ) {
    if (numFillers < MAX_FILLERS && chance(style.filler)) {
      words.push(FILLERS[random.integer(FILLERS.length)]);
      numFillers += 1;
    }
    const [first, second] = people.slice(index);
    const direction = DIRECTIONS[random.integer(DIRECTIONS.length)];
    const middle = ride(place, habits[first]);
    words.push('at', PLACES[place], PEOPLE[first]);
    if (second !== undefined && chance(style.merged)) {
      const end = ride(middle, habits[second]);
      words.push(connectiveAt(place), PEOPLE[second]);
      if (chance(style.mergedNamed)) words.push(lineWord(first), lineWord(second));
      words.push(direction, PLACES[end]);
      place = end;
      index += 2;
    } else {
      if (chance(style.late)) words.push(direction, PLACES[middle], 'by', lineWord(first));
      else words.push(lineWord(first), direction, PLACES[middle]);
      place = middle;
      index += 1;
    }
    words.push('.');
  }
  words.push('end', PLACES[place]);
  return words.join(' ');
}
