import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type GradedResponse, measureAccuracy, type SplitAccuracy } from './task-accuracy.js';

const counts = ({ all, finished, truncated }: SplitAccuracy) =>
  [all, finished, truncated].map(({ correct, total }) => `${correct}/${total}`);

const responses: GradedResponse[] = [
  { isFinished: true, isBoxed: true, isCorrect: true, isCorrectForced: true },
  { isFinished: true, isBoxed: true, isCorrect: false, isCorrectForced: false },
  { isFinished: true, isBoxed: false, isCorrect: true, isCorrectForced: false },
  { isFinished: false, isBoxed: false, isCorrect: false, isCorrectForced: true },
  { isFinished: false, isBoxed: false, isCorrect: false, isCorrectForced: false },
];

test('boxed, fallback and forced answers are counted apart, over all, finished and truncated responses', () => {
  const { numResponses, numBoxed, boxed, fallback, forced } = measureAccuracy(responses);
  assert.deepEqual([numResponses, numBoxed], [5, 2]);
  assert.deepEqual(counts(boxed), ['1/5', '1/3', '0/2']);
  assert.deepEqual(counts(fallback), ['2/5', '2/3', '0/2']);
  assert.deepEqual(counts(forced!), ['2/5', '1/3', '1/2']);
  assert.ok(boxed.all.lower < 0.2 && boxed.all.upper > 0.2);
});

test('where nothing was forced there is no forced accuracy, and of no responses nothing is known', () => {
  assert.equal(
    measureAccuracy(responses.map((response) => ({ ...response, isCorrectForced: undefined }))).forced,
    null,
  );
  assert.deepEqual(measureAccuracy([]).boxed.all, { correct: 0, total: 0, lower: 0, upper: 1 });
});
