import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StepRow } from './alarms.js';
import { bestOf } from './selection.js';

const rows = (...scores: (readonly [number, number] | null)[]): StepRow[] =>
  scores.map((score, index) => ({
    ...({ step: index + 1 } as StepRow),
    validation: score && { correct: score[0], total: score[1] },
  }));

test('the student with the highest validation score is kept, the earliest of equals; steps without a score never', () => {
  assert.equal(bestOf(rows(null, [3, 10], null, [7, 10], [7, 10], [6, 10]))?.step, 4);
  assert.equal(bestOf(rows([1, 2], [60, 100]))?.step, 2, 'shares, not counts');
  assert.equal(bestOf(rows(null, null)), undefined);
});
