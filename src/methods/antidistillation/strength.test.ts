import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { DataError, OverflowError } from '../../support/errors.js';
import { solveStrength } from './strength.js';

describe('the search for a strength', () => {
  test('finds the λ at which a growing measure meets its target, from any start', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.double({ min: -6, max: 6, noNaN: true }),
        fc.double({ min: -6, max: 6, noNaN: true }),
        fc.double({ min: 0.5, max: 2, noNaN: true }),
        async (logSolution, logStart, power) => {
          const solution = 10 ** logSolution;
          const measure = async (lambda: number) => 0.2 * (lambda / solution) ** power;
          const { lambda, value } = await solveStrength(measure, { target: 0.2, initial: 10 ** logStart });
          assert.ok(Math.abs(value - 0.2) <= 0.03 * 0.2);
          assert.ok(Math.abs(Math.log(lambda / solution)) < 0.1);
        },
      ),
      { numRuns: 200 },
    );
  });

  test('says so where the target is out of reach, with the nearest that it found', async () => {
    const saturating = async (lambda: number) => 0.5 * (1 - Math.exp(-lambda));
    await assert.rejects(
      solveStrength(saturating, { target: 1, initial: 1 }),
      (error) => error instanceof DataError && /No strength gives 1: .* gives 0\.500/.test(error.message),
    );
  });

  test('gives the bound where that is asked for, and says that it is one', async () => {
    const saturating = async (lambda: number) => 0.5 * (1 - Math.exp(-lambda));
    const bounded = await solveStrength(saturating, { target: 1, initial: 0.01, outOfReach: 'bound' });
    assert.equal(bounded.isReached, false);
    assert.ok(bounded.value > 0.48 && bounded.value <= 0.5);
    const reached = await solveStrength(saturating, { target: 0.3, initial: 0.01, outOfReach: 'bound' });
    assert.equal(reached.isReached, true);
    assert.ok(Math.abs(reached.value - 0.3) <= 0.03 * 0.3);
  });

  test('takes a tilt beyond float32 for the end of the search, no other error', async () => {
    const weak = (problem: Error) => async (lambda: number) => {
      if (lambda > 100) throw problem;
      return 1e-3 * lambda;
    };
    const { isReached, lambda } = await solveStrength(weak(new OverflowError('too strong')), {
      ...{ target: 100, initial: 1, outOfReach: 'bound' },
    });
    assert.deepEqual([isReached, lambda], [false, 64]);
    await assert.rejects(solveStrength(weak(new DataError('another')), { target: 100, initial: 1 }), /another/);
  });

  test('ends where the measure leaps over the target, with the nearer neighbour where that is asked for', async () => {
    let count = 0;
    const jump = async (lambda: number) => {
      count++;
      return lambda < 1 ? 0.01 : 1;
    };
    await assert.rejects(solveStrength(jump, { target: 0.2, initial: 0.1 }), DataError);
    assert.ok(count <= 40);
    count = 0;
    const leap = async (lambda: number) => Math.max(0.001, (await jump(lambda)) - 0.01);
    const nearest = await solveStrength(leap, { target: 0.2, initial: 0.1, outOfReach: 'bound' });
    assert.deepEqual([nearest.value, nearest.isReached], [0.001, true]);
    assert.ok(nearest.lambda < 1 && nearest.lambda > 0.98 && count <= 40, `${nearest.lambda} after ${count}`);
  });
});
