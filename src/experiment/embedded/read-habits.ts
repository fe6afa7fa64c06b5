/** What a program with the public map finds out of traces about who takes which line. */
import type { Random } from '../../support/random.js';
import { readSteps, type Step } from '../../tasks/embedded/read-trace.js';
import { COLOURS, PEOPLE } from '../../tasks/embedded/words.js';
import { type Habits, ride } from '../../tasks/embedded/world.js';

/** The line named most often for each person; of a person without any, one by chance. */
export function readOffHabits(texts: readonly string[], random: Random): Habits {
  return votesOf(texts.flatMap((text) => readSteps(text).steps)).map((votes) => {
    const most = Math.max(...votes);
    return most > 0 ? votes.indexOf(most) : random.integer(COLOURS.length);
  });
}

/** Nats that a line named, or told by the end of a single step, weighs. */
const CERTAINTY = 3;
/** Share of what a merged step says that counts: the messages of loops are not independent. */
const DAMPING = 0.3;
const ROUNDS = 30;
/** Probability left to what a step rules out: steps may be wrong. */
const FLOOR = 1e-3;

/**
 * The likeliest line of each person given all steps, those of two people without lines included: such a step fits only some pairs of
 * lines, and what is known of one person narrows the other's (belief propagation over people, damped).
 */
export function workOutHabits(texts: readonly string[]): Habits {
  const steps = texts.flatMap((text) => readSteps(text).steps);
  const silent = steps.filter(({ lines, people }) => lines.length === 0 && people.length === 2);
  const evidence = votesOf(steps).map((votes) => votes.map((count) => CERTAINTY * count));
  for (const { from, to, people, lines } of steps) {
    if (lines.length > 0 || people.length !== 1) continue;
    for (const line of COLOURS.keys()) if (ride(from, line) === to) evidence[people[0]][line] += CERTAINTY;
  }
  let beliefs = evidence.map(softmax);
  for (let round = 0; round < ROUNDS; round++) {
    const scores = evidence.map((nats) => [...nats]);
    for (const { from, to, people } of silent) {
      const [first, second] = people;
      const fits: [number[], number[]] = [COLOURS.map(() => FLOOR), COLOURS.map(() => FLOOR)];
      for (const a of COLOURS.keys()) {
        for (const b of COLOURS.keys()) {
          if (ride(ride(from, a), b) !== to) continue;
          fits[0][a] += beliefs[second][b];
          fits[1][b] += beliefs[first][a];
        }
      }
      people.forEach((person, at) => {
        fits[at].forEach((fit, line) => {
          scores[person][line] += DAMPING * Math.log(fit);
        });
      });
    }
    beliefs = scores.map(softmax);
  }
  return beliefs.map((belief) => belief.indexOf(Math.max(...belief)));
}

/** How often each line is named for each person, [person][line]. */
function votesOf(steps: readonly Step[]): number[][] {
  const votes = PEOPLE.map(() => COLOURS.map(() => 0));
  for (const { people, lines } of steps) {
    lines.forEach((line, index) => {
      votes[people[index]][line] += 1;
    });
  }
  return votes;
}

function softmax(nats: readonly number[]): number[] {
  const most = Math.max(...nats);
  const weights = nats.map((each) => Math.exp(each - most));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}
