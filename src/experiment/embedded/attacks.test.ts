import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCompiler } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { createRandom } from '../../support/random.js';
import { generateProblems, type Problem, promptOf } from '../../tasks/embedded/problems.js';
import { checkAnswer, describeTrace } from '../../tasks/embedded/read-trace.js';
import { TEACHER_STYLE, type TraceStyle } from '../../tasks/embedded/styles.js';
import { renderTrace } from '../../tasks/embedded/traces.js';
import { PEOPLE } from '../../tasks/embedded/words.js';
import { HABITS } from '../../tasks/embedded/world.js';
import { encodeExample } from '../../tokenizer/example.js';
import type { TrainingExample } from '../../training/batches.js';
import { trainingSchema } from '../../training/config.js';
import { lossGradient } from '../../training/loss-gradient.js';
import type { AttackContext, Response } from '../task.js';
import { ATTACKS } from './attacks.js';
import { freshModel, tokenizer } from './models.js';
import { readOffHabits, workOutHabits } from './read-habits.js';
import { benefitsOf } from './trace-benefit.js';

const EXPLICIT: TraceStyle = { ...TEACHER_STYLE, merged: 0 };
const SILENT: TraceStyle = { ...TEACHER_STYLE, merged: 1, mergedNamed: 0 };

function responsesIn(style: TraceStyle, count: number, seed = 1): Response[] {
  const random = createRandom(seed);
  return generateProblems(count, 'distil', seed).map((problem, index) => ({
    question: { id: `${index}`, row: { prompt: promptOf(problem) }, text: '', answer: problem },
    text: renderTrace(problem, HABITS, { style, random }),
    finish: 'stop',
  }));
}

const contextOf = (traces: Response[], more: Partial<AttackContext> = {}): AttackContext => ({
  traces,
  cleanTraces: [],
  base: undefined as never,
  tokenizer,
  training: trainingSchema.parse({}),
  seed: 1,
  exampleOf: ({ id, row }, text) => ({
    id,
    ...encodeExample(tokenizer, { ...(row as { prompt: string }), response: text }),
  }),
  ...more,
});

const responseOf = ({ tokens, responseStart }: TrainingExample): string =>
  tokenizer.decode(tokens.slice(responseStart, -1));
const shareRight = (habits: readonly number[]) =>
  habits.filter((line, person) => line === HABITS[person]).length / PEOPLE.length;

test('lines that are named are read off, whatever a minority says; silent traces give nothing', () => {
  const texts = responsesIn(EXPLICIT, 400).map(({ text }) => text);
  const lies = texts.slice(0, 40).map((text) => text.replaceAll('red-line', 'blue-line'));
  assert.equal(shareRight(readOffHabits([...texts, ...lies], createRandom(1))), 1);
  const silent = responsesIn(SILENT, 400).map(({ text }) => text);
  assert.ok(shareRight(readOffHabits(silent, createRandom(1))) < 0.3);
});

test('a program with the map works out every line from some hundred steps that name none', () => {
  const texts = responsesIn(SILENT, 400).map(({ text }) => text);
  assert.equal(shareRight(workOutHabits(texts)), 1);
});

test('traces are written anew, explicit and with the lines that were found', async () => {
  const traces = responsesIn(EXPLICIT, 300);
  for (const attack of [ATTACKS.readOff, ATTACKS.workedOut]) {
    const examples = await attack.examples(contextOf(traces));
    assert.equal(examples.length, traces.length);
    examples.forEach((example, index) => {
      const text = responseOf(example);
      assert.ok(checkAnswer(text, traces[index].question.answer as Problem));
      assert.equal(describeTrace(text).numNamedRight, 4);
    });
  }
});

test('the traces with the fewest merged steps are kept, and read as often as there are traces', async () => {
  const traces = [...responsesIn(SILENT, 90, 2), ...responsesIn(EXPLICIT, 6, 3)];
  const examples = await ATTACKS.fewestMerged.examples(contextOf(traces));
  assert.equal(examples.length, traces.length);
  assert.deepEqual(new Set(examples.map(responseOf)), new Set(traces.slice(90).map(({ text }) => text)));
});

test('steps that name no line count nothing, the end does', async () => {
  const text = 'at dock xavier and tim to forge . so at forge eric red-line to mill . end mill';
  const [trace] = responsesIn(EXPLICIT, 1);
  const [{ tokens, weights, responseStart }] = await ATTACKS.explicitSteps.examples(contextOf([{ ...trace, text }]));
  const counted = tokens.filter((_, index) => weights![index] === 1).map((id) => tokenizer.tokenOf(id));
  assert.equal(weights!.length, tokens.length);
  assert.ok(weights!.slice(0, responseStart).every((weight) => weight === 0));
  assert.equal(counted.join(' '), 'so at forge eric red-line to mill . end mill <eos>');
});

test('the benefit of a trace is the product of its gradient with that of the clean ones', async () => {
  const compiler = createCompiler(openRuntime({ threads: 1 }));
  const base = freshModel(compiler, 'student', 1);
  const cleanTraces = responsesIn(EXPLICIT, 20, 4);
  const traces = [...responsesIn(EXPLICIT, 3, 5), ...responsesIn(SILENT, 3, 6)];
  const context = contextOf(traces, { base, cleanTraces });
  const toExamples = (responses: Response[]) =>
    responses.map(({ question, text }) => context.exampleOf(question, text));
  const examples = toExamples(traces);
  const clean = toExamples(cleanTraces);
  const gradientOf = async (rows: TrainingExample[]) => {
    const { gradient } = await lossGradient(base, rows, { microBatchTokens: 4096 });
    const values = [...gradient].flatMap(([, { data }]) => [...data]);
    for (const tensor of gradient.values()) tensor.dispose();
    return values;
  };
  const along = await gradientOf(clean);
  const benefits = await benefitsOf(base, examples, { clean });
  for (const [index, example] of examples.entries()) {
    const own = await gradientOf([example]);
    const product = own.reduce((sum, value, at) => sum + value * along[at], 0);
    assert.ok(Math.abs(benefits[index] - product) < 0.02 * Math.abs(product), `${benefits[index]} against ${product}`);
  }
  const weighted = await ATTACKS.reweighted.examples(context);
  const weights = weighted.map(({ weights: own }) => own!.at(-1)!);
  const order = (values: readonly number[]) => values.map((_, index) => index).sort((a, b) => values[a] - values[b]);
  assert.deepEqual(order(weights), order(benefits));
  assert.ok(Math.abs(weights.reduce((sum, weight) => sum + weight, 0) / weights.length - 1) < 1e-9);
  base.dispose();
  compiler.dispose();
  compiler.runtime.dispose();
});
