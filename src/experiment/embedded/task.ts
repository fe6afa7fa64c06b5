/** The parcel as a task of trade-off runs (docs/embedded-task.md). */
import { sha256OfJson } from '../../support/hash.js';
import { generateProblems, type Problem, promptOf, type Split } from '../../tasks/embedded/problems.js';
import { checkAnswer } from '../../tasks/embedded/read-trace.js';
import { MAX_TRACE_WORDS } from '../../tasks/embedded/traces.js';
import { COLOURS, CONNECTIVES, PLACES, WORDS } from '../../tasks/embedded/words.js';
import { HABITS, ride } from '../../tasks/embedded/world.js';
import type { Purpose, Question, Task } from '../task.js';
import { ATTACKS } from './attacks.js';
import { buildModel } from './build-model.js';
import type { EmbeddedTaskConfig } from './config.js';
import { PROXY_KINDS, SHIPPED_MODELS, sourceOf } from './sources.js';
import { describeStyles } from './style-facts.js';

const DESCRIPTION =
  'A parcel goes from hand to hand; asked where it ends, a model tells the journey. Where each of 8 lines leads from each of 12 places ' +
  'is public, which line each of 120 people takes only the teacher knows. It mostly says the line; it may also move two people in one ' +
  'step and say only where they end, which is right and teaches little. Proxies and students have read reports of journeys in which ' +
  'people take random lines, terser than the teacher: they know the words and the map, and nobody’s line.';

/** Where problems are drawn from, and by which seed. */
const PURPOSES: Readonly<Record<Purpose, { readonly split: Split; readonly seed: number }>> = {
  holdout: { split: 'holdout', seed: 3 },
  distil: { split: 'distil', seed: 77 },
  calibration: { split: 'validation', seed: 4 },
  validation: { split: 'validation', seed: 5 },
  test: { split: 'test', seed: 6 },
  sealed: { split: 'sealed', seed: 7 },
};

export async function openEmbeddedTask({ models = SHIPPED_MODELS }: EmbeddedTaskConfig): Promise<Task> {
  const drawn = new Map<Purpose, Question[]>();
  return {
    name: 'parcel',
    description: DESCRIPTION,
    chance: 1 / PLACES.length,
    identity: identityOf(),
    encoding: { chat: 'never' },
    maxTokens: MAX_TRACE_WORDS,
    expectedTokens: { prompt: 9, response: 31 },
    async questions(purpose, count) {
      let questions = drawn.get(purpose) ?? [];
      if (questions.length < count) {
        questions = drawQuestions(purpose, count);
        drawn.set(purpose, questions);
      }
      return questions.slice(0, count);
    },
    judge: async (responses) =>
      responses.map(({ question, text }) => ({
        isCorrect: checkAnswer(text, question.answer as Problem),
        isParsed: ANSWER.test(text),
      })),
    probes: [
      {
        name: 'explicit',
        description: 'the words that join two people are forbidden: has the student the knowledge, whatever its style?',
        forbidden: CONNECTIVES,
      },
    ],
    proxyKinds: PROXY_KINDS,
    proxyTokenizer: 'equal',
    attacks: ATTACKS,
    modelSource: async (request) => sourceOf(request, models),
    buildModel,
    describe: describeStyles,
    dispose: () => {},
  };
}

const ANSWER = new RegExp(`\\bend (${PLACES.join('|')})\\b`);

function drawQuestions(purpose: Purpose, count: number): Question[] {
  const { split, seed } = PURPOSES[purpose];
  return generateProblems(count, split, seed).map((problem, index) => {
    const prompt = promptOf(problem);
    return { id: `${purpose}-${index + 1}`, row: { prompt }, text: prompt, answer: problem };
  });
}

/** Words, map, habits and seeds: all that decides what is asked and what is right. */
function identityOf(): string {
  const map = PLACES.map((_, place) => COLOURS.map((_name, line) => ride(place, line)));
  return sha256OfJson([WORDS, map, HABITS, PURPOSES]);
}
