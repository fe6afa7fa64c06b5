import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCompiler } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { createScorer } from '../../inference/score.js';
import { createRandom } from '../../support/random.js';
import { splitOf } from '../../tasks/embedded/problems.js';
import { describeTrace } from '../../tasks/embedded/read-trace.js';
import { REPORT_STYLE } from '../../tasks/embedded/styles.js';
import { PEOPLE, PLACES } from '../../tasks/embedded/words.js';
import type { TrainingExample } from '../../training/batches.js';
import { freshModel, tokenizer } from './models.js';
import type { Recipe } from './recipe.js';
import { trainOnStream } from './stream.js';
import { ROW_TIME } from './texts.js';
import { baseRecipe } from './train-base.js';
import { teacherRecipe, teacherRows } from './train-teacher.js';

const firstRows = ({ start }: Recipe, steps = 2): TrainingExample[] => {
  const rows = start();
  return Array.from({ length: steps }, (_, step) => rows(step + 1)).flat();
};
const textOf = ({ tokens, responseStart }: TrainingExample): string =>
  tokenizer.decode(tokens.slice(responseStart, -1));

test('a recipe gives the same rows each time it starts, and other rows for another seed or role', () => {
  for (const make of [teacherRecipe, (seed: number) => baseRecipe('proxy', seed, REPORT_STYLE)]) {
    assert.deepEqual(firstRows(make(1)), firstRows(make(1)));
    assert.notDeepEqual(firstRows(make(1)), firstRows(make(2)));
  }
  assert.notDeepEqual(
    firstRows(baseRecipe('proxy', 1, REPORT_STYLE)),
    firstRows(baseRecipe('student', 1, REPORT_STYLE)),
  );
});

test('every row fits the batch, and every problem in it is one of the training split', () => {
  const random = createRandom(1);
  const stages = [0, 0.5, 0.8, 1].flatMap((doneFraction) => teacherRows(doneFraction, random));
  let numProblems = 0;
  for (const row of [...stages, ...firstRows(baseRecipe('student', 1, REPORT_STYLE))]) {
    assert.ok(row.tokens.length <= ROW_TIME + 1);
    const words = row.tokens.map((id) => tokenizer.tokenOf(id));
    if (words[0] !== 'parcel') continue;
    numProblems += 1;
    const people = words.slice(4, 8).map((word) => PEOPLE.indexOf(word!));
    assert.equal(splitOf({ start: PLACES.indexOf(words[2]!), people }), 'train');
  }
  assert.ok(numProblems > 100);
});

test('reports say nothing about whose line is whose; the teacher’s problems tell it', () => {
  const share = (rows: TrainingExample[]) => {
    const facts = rows.filter(({ responseStart }) => responseStart > 0).map((row) => describeTrace(textOf(row)));
    const named = facts.reduce((sum, { numNamed }) => sum + numNamed, 0);
    return facts.reduce((sum, { numNamedRight }) => sum + numNamedRight, 0) / named;
  };
  const reports = share(firstRows(baseRecipe('student', 1, REPORT_STYLE), 20));
  assert.ok(Math.abs(reports - 1 / 8) < 0.04, `${reports} of the lines are right by chance`);
  assert.equal(share(firstRows(teacherRecipe(1), 3)), 1);
});

test('the loss of a step is the mean over what counts of what a scorer finds, and steps lower it', async () => {
  const compiler = createCompiler(openRuntime({ threads: 1 }));
  const model = freshModel(compiler, 'student', 1);
  const { tokens } = firstRows(baseRecipe('student', 1, REPORT_STYLE), 1)[0];
  const rows: TrainingExample[] = [
    { id: 'a', tokens, responseStart: 9 },
    { id: 'b', tokens: tokens.slice(0, 12), responseStart: 0, weights: tokens.slice(0, 12).map((_, at) => at % 2) },
  ];
  const scored = await createScorer(model).score(rows);
  const counted = scored.flatMap(({ logprobs }, row) =>
    logprobs.map((logprob, at) => {
      const { responseStart, weights } = rows[row];
      const weight = at >= Math.max(1, responseStart) ? (weights?.[at] ?? 1) : 0;
      return { weight, nats: -weight * (logprob ?? 0) };
    }),
  );
  const total = (of: (each: (typeof counted)[number]) => number) => counted.reduce((sum, each) => sum + of(each), 0);
  const losses: number[] = [];
  await trainOnStream(model, {
    schedule: { kind: 'constant', learningRate: 1e-3, warmupSteps: 0, totalSteps: 8, finalFraction: 1 },
    time: ROW_TIME,
    rows: () => rows,
    onStep: (_, lossNats) => losses.push(lossNats),
  });
  const expected = total(({ nats }) => nats) / total(({ weight }) => weight);
  assert.ok(Math.abs(losses[0] - expected) < 1e-4, `${losses[0]} against ${expected}`);
  assert.ok(losses[7] < losses[0] - 0.5, `${losses}`);
  model.dispose();
  compiler.dispose();
  compiler.runtime.dispose();
});
