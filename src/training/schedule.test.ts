import assert from 'node:assert/strict';
import { test } from 'node:test';
import { learningRateAt, type Schedule } from './schedule.js';

const base: Schedule = { kind: 'cosine', learningRate: 2, warmupSteps: 4, totalSteps: 24, finalFraction: 0.1 };
const close = (got: number, expected: number) => assert.ok(Math.abs(got - expected) < 1e-12, `${got}, not ${expected}`);

test('the warm-up rises in equal steps to the highest rate, whatever follows', () => {
  for (const kind of ['constant', 'linear', 'cosine'] as const)
    assert.deepEqual(
      [1, 2, 3, 4].map((step) => learningRateAt({ ...base, kind }, step)),
      [0.5, 1, 1.5, 2],
    );
});

test('cosine passes its quarter points and ends at the final fraction', () => {
  const at = (u: number) => 2 * (0.1 + 0.9 * u);
  close(learningRateAt(base, 9), at((1 + Math.SQRT1_2) / 2));
  close(learningRateAt(base, 14), at(0.5));
  close(learningRateAt(base, 19), at((1 - Math.SQRT1_2) / 2));
  close(learningRateAt(base, 24), 0.2);
});

test('linear falls evenly to the final fraction, constant stays', () => {
  close(learningRateAt({ ...base, kind: 'linear' }, 14), 2 * 0.55);
  close(learningRateAt({ ...base, kind: 'linear' }, 24), 0.2);
  assert.equal(learningRateAt({ ...base, kind: 'constant' }, 24), 2);
});

test('a run without warm-up, or of nothing else, has a rate at every step', () => {
  close(learningRateAt({ ...base, warmupSteps: 0, totalSteps: 1 }, 1), 0.2);
  assert.equal(learningRateAt({ ...base, warmupSteps: 3, totalSteps: 3 }, 3), 2);
});
