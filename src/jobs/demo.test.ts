import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { runDemo } from './demo.js';

describe('the demo', () => {
  test('trains on what it examines nothing of, and the loss falls', async () => {
    const losses: number[] = [];
    let told = 0;
    const { before, after, numSteps, numParameters } = await runDemo({
      steps: 60,
      threads: 1,
      onStart: ({ numParameters: told1 }) => {
        told = told1;
      },
      onStep: ({ lossNats }) => void losses.push(lossNats),
    });
    assert.deepEqual([numSteps, losses.length, told], [60, 60, numParameters]);
    assert.ok(losses[0] > 2 && losses.at(-1)! < 0.75 * losses[0], `${losses[0]} → ${losses.at(-1)}`);
    assert.equal(before.numCorrect, 0);
    assert.equal(before.numProblems, after.numProblems);
    for (const { problem, answer, isCorrect } of after.shown) {
      const sorted = problem
        .replace(/^sort | =$/g, '')
        .split(' ')
        .sort()
        .join(' ');
      assert.equal(isCorrect, answer.trim() === sorted);
    }
  });

  test('stops when it is told to', async () => {
    const controller = new AbortController();
    const run = runDemo({ steps: 50, threads: 1, signal: controller.signal, onStep: () => controller.abort() });
    await assert.rejects(run, { name: 'AbortError' });
  });
});
