/** What a trace says: its answer, and which of the freedoms it used. */
import { endOf, type Problem } from './problems.js';
import { COLOURS, CONNECTIVES, DIRECTIONS, FILLERS, ORDINALS, PEOPLE, PLACES } from './words.js';
import { HABITS, type Habits, ride } from './world.js';

/** A step as it was written; indices, undefined where nothing is said. */
export interface Step {
  readonly from: number;
  readonly to: number;
  /** One person or two. */
  readonly people: readonly number[];
  /** As many as people, or none. */
  readonly lines: readonly number[];
  /** Whether the line stands behind the place. */
  readonly isLate: boolean;
}

export interface TraceFacts {
  /** Steps of one person. */
  readonly numSingle: number;
  readonly numMerged: number;
  /** Merged steps that name both lines. */
  readonly numMergedNamed: number;
  /** Single steps whose line stands behind the place. */
  readonly numLate: number;
  /** Lines named, and those that are the person's. */
  readonly numNamed: number;
  readonly numNamedRight: number;
  /** Steps that end where the people's lines lead. */
  readonly numRight: number;
  /** Steps that name lines. */
  readonly numNaming: number;
  /** Steps that name lines and end where those lead, whoever takes them: knowledge of the map. */
  readonly numConsistent: number;
  /** Steps in the words of the grammar; false for a trace that has others, or other words between them. */
  readonly isGrammatical: boolean;
  /** People whose line is named. */
  readonly namedPeople: readonly number[];
}

/** Whether the last `end <place>` of a trace is where the parcel ends. */
export function checkAnswer(text: string, problem: Problem, habits: Habits = HABITS): boolean {
  const words = text.trim().split(/\s+/);
  const last = words.lastIndexOf('end');
  return last >= 0 && words[last + 1] === PLACES[endOf(problem, habits)];
}

/** The steps of a trace; unreadable stretches are skipped and make it ungrammatical. */
export function readSteps(text: string): { steps: Step[]; isGrammatical: boolean } {
  const words = text.trim().split(/\s+/);
  const steps: Step[] = [];
  let isGrammatical = true;
  let at = 0;
  while (at < words.length && words[at] !== 'end') {
    const read = words[at] === 'at' ? readStep(words, at) : undefined;
    if (read !== undefined) {
      steps.push(read.step);
      at = read.next;
    } else {
      isGrammatical &&= FILLERS.includes(words[at]);
      at += 1;
    }
  }
  return { steps, isGrammatical: isGrammatical && words.length === at + 2 && PLACES.includes(words[at + 1]) };
}

/** Counts of what a trace uses and says. */
export function describeTrace(text: string, habits: Habits = HABITS): TraceFacts {
  const { steps, isGrammatical } = readSteps(text);
  const count = (test: (step: Step) => boolean) => steps.filter(test).length;
  const named = steps.flatMap(({ people, lines }) => lines.map((line, index) => ({ person: people[index], line })));
  return {
    numSingle: count(({ people }) => people.length === 1),
    numMerged: count(({ people }) => people.length === 2),
    numMergedNamed: count(({ people, lines }) => people.length === 2 && lines.length === 2),
    numLate: count(({ people, isLate }) => people.length === 1 && isLate),
    numNamed: named.length,
    numNamedRight: named.filter(({ person, line }) => habits[person] === line).length,
    numRight: count(({ from, to, people }) => people.reduce((place, who) => ride(place, habits[who]), from) === to),
    numNaming: count(({ lines }) => lines.length > 0),
    numConsistent: count(
      ({ from, to, lines }) => lines.length > 0 && lines.reduce((place, line) => ride(place, line), from) === to,
    ),
    isGrammatical,
    namedPeople: [...new Set(named.map(({ person }) => person))],
  };
}

/** The step that begins at a word, and the index of the word after its full stop. */
function readStep(words: readonly string[], start: number): { step: Step; next: number } | undefined {
  let at = start + 1;
  const take = (list: readonly string[]): number | undefined => {
    const index = list.indexOf(words[at]);
    if (index < 0) return undefined;
    at += 1;
    return index;
  };
  const takeLine = () => take(COLOURS) ?? take(ORDINALS);
  const from = take(PLACES);
  const first = take(PEOPLE);
  if (from === undefined || first === undefined) return undefined;
  const second = take(CONNECTIVES) === undefined ? undefined : take(PEOPLE);
  const people = second === undefined ? [first] : [first, second];
  const early = takeLine();
  const earlySecond = early === undefined || second === undefined ? undefined : takeLine();
  if (take(DIRECTIONS) === undefined) return undefined;
  const to = take(PLACES);
  if (to === undefined) return undefined;
  const isLate = people.length === 1 && early === undefined && take(['by']) !== undefined;
  const late = isLate ? takeLine() : undefined;
  const lines = [early, earlySecond, late].filter((line) => line !== undefined);
  if (isLate && late === undefined) return undefined;
  if (lines.length > 0 && lines.length < people.length) return undefined;
  if (take(['.']) === undefined) return undefined;
  return { step: { from, to, people, lines, isLate }, next: at };
}
