import assert from 'node:assert/strict';
import { test } from 'node:test';
import { extractAnswer } from '../answers/extract.js';
import type { TaskItem } from './items.js';
import { ANSWER_FORCING_SUFFIX, buildPrompt, PROMPT_TEMPLATES } from './prompts.js';
import { splitByHash } from './splits.js';

const choice: TaskItem = { id: '1', question: 'Which {answer} is red?', choices: ['sky', 'rose'], answer: 'B' };

test('five-shot prompts show the examples solved and the question open', () => {
  const prompt = buildPrompt(choice, PROMPT_TEMPLATES.mmlu, [{ ...choice, question: 'Which is blue?', answer: 'A' }]);
  assert.equal(
    prompt,
    'The following are multiple choice questions (with answers).\n\n' +
      'Which is blue?\nA. sky\nB. rose\nAnswer: A\n\nWhich {answer} is red?\nA. sky\nB. rose\nAnswer:',
  );
});

test('a boxed example ends with a box that is read back as its answer', () => {
  const prompt = buildPrompt(choice, PROMPT_TEMPLATES.boxedChoice, [{ ...choice, answer: 'A' }]);
  const [example] = prompt.split("Let's think");
  assert.deepEqual(extractAnswer(example), { rule: 'boxed', answer: 'A' });
});

test('what a model writes after the forcing suffix is read as boxed', () => {
  assert.deepEqual(extractAnswer(`half a thought${ANSWER_FORCING_SUFFIX}42}\\]`), { rule: 'boxed', answer: '42' });
});

test('examples without a template of theirs and missing choices are refused', () => {
  assert.throws(() => buildPrompt(choice, { question: '{question}' }, [choice]), /has no "shot"/);
  assert.throws(
    () => buildPrompt({ id: '7', question: 'q', answer: '1' }, PROMPT_TEMPLATES.mmlu),
    /'7' has no choices/,
  );
});

const items = Array.from(
  { length: 4000 },
  (_, index): TaskItem => ({ id: `${index}`, question: `q ${index}`, answer: '' }),
);

test('splits are disjoint, of the size asked for, and a question stays in its split when others come or go', () => {
  const fractions = { train: 0.7, holdout: 0.2 };
  const splits = splitByHash(items, fractions);
  // Four standard deviations of a binomial count.
  assert.ok(Math.abs(splits.train.length - 2800) < 4 * Math.sqrt(4000 * 0.7 * 0.3));
  assert.ok(Math.abs(splits.holdout.length - 800) < 4 * Math.sqrt(4000 * 0.2 * 0.8));
  assert.equal(new Set([...splits.train, ...splits.holdout]).size, splits.train.length + splits.holdout.length);
  const part = splitByHash(items.slice(1000), fractions);
  const kept = new Set(splits.train);
  assert.ok(part.train.every((item) => kept.has(item)));
  assert.notDeepEqual(splitByHash(items, fractions, { salt: 'other' }).train, splits.train);
});

test('copies of a question that differ in white space and case share a split', () => {
  const copies = items.map((item) => ({ ...item, question: ` ${item.question.toUpperCase()}\n` }));
  const idsOf = (list: readonly TaskItem[]) => list.map(({ id }) => id);
  assert.deepEqual(idsOf(splitByHash(copies, { a: 0.5 }).a), idsOf(splitByHash(items, { a: 0.5 }).a));
});

test('fractions beyond one are refused', () => {
  assert.throws(() => splitByHash(items, { a: 0.7, b: 0.4 }), /sum to at most 1/);
  assert.throws(() => splitByHash(items, { a: -0.1 }), /at least 0/);
});
