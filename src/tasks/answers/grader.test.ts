import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGrader } from './grader.js';

/** Sets of formulas, the one in the opposite order of the other: some hundred thousand comparisons. */
const items = Array.from({ length: 480 }, (_, index) => `x+${index}`);
const slow = { expected: `\\boxed{${items.join(',')}}`, actual: `\\boxed{${[...items].reverse().join(',')}}` };

test('a comparison beyond the time limit is ended, and those that wait behind it are answered', async () => {
  const grader = createGrader({ timeLimitMs: 60 });
  try {
    assert.equal((await grader.equal('1', '1')).equal, true);
    const startMs = performance.now();
    const [ended, next] = await Promise.all([
      grader.equal(slow.expected, slow.actual),
      grader.equal('\\frac{1}{2}', 'The answer is 0.5.'),
    ]);
    assert.deepEqual(
      { equal: ended.equal, rule: ended.rule, answer: ended.answer },
      { equal: false, rule: 'timeout', answer: '' },
    );
    assert.ok(ended.durationMs >= 50 && performance.now() - startMs < 10_000);
    assert.deepEqual(
      { equal: next.equal, rule: next.rule, answer: next.answer },
      { equal: true, rule: 'fallback', answer: '0.5' },
    );
  } finally {
    grader.dispose();
  }
});

test('without the limit the same comparison comes to a verdict: the limit is what ended it', async () => {
  const grader = createGrader({ timeLimitMs: 60_000 });
  try {
    assert.equal((await grader.equal(slow.expected, slow.actual)).equal, true);
  } finally {
    grader.dispose();
  }
});

test('verdicts come back to the comparisons they belong to', async () => {
  const grader = createGrader();
  try {
    const verdicts = await Promise.all(
      Array.from({ length: 200 }, (_, index) => grader.equal(`${index}`, `${index % 50}`)),
    );
    assert.deepEqual(
      verdicts.map(({ equal }) => equal),
      Array.from({ length: 200 }, (_, index) => index < 50),
    );
  } finally {
    grader.dispose();
  }
});

test('dispose answers what still waits, and nothing hangs', async () => {
  const grader = createGrader();
  const waiting = [grader.equal('1', '1'), grader.equal('2', '2')];
  grader.dispose();
  for (const verdict of await Promise.all(waiting)) assert.equal(verdict.rule, 'error');
});
