import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { DataError } from '../../support/errors.js';
import { createRandom } from '../../support/random.js';
import { solveAccuracyLoss } from './accuracy-strength.js';

/** A teacher of accuracy 0.9 whose errors set in around λ = 10^middle; the divergence grows as λ² and then stops. */
const lossAt = (lambda: number, middle: number) => 0.8 / (1 + (10 ** middle / lambda) ** 1.5);
const natsAt = (lambda: number, middle: number) => 2 * (1 - Math.exp(-((lambda / 10 ** middle) ** 2)));

describe('the search for a strength by accuracy', () => {
  test('comes within half a point of the target where nothing is random, from any start', async () => {
    const exponent = fc.double({ min: -5, max: 5, noNaN: true });
    await fc.assert(
      fc.asyncProperty(
        exponent,
        exponent,
        fc.double({ min: 0.01, max: 0.6, noNaN: true }),
        async (middle, start, target) => {
          const measure = async (lambda: number) => ({ loss: lossAt(lambda, middle), nats: natsAt(lambda, middle) });
          const { loss, isReached } = await solveAccuracyLoss(measure, {
            target,
            initial: 10 ** start,
            maxMeasurements: 60,
          });
          assert.ok(isReached);
          assert.ok(Math.abs(loss - target) <= 0.02, `${loss} for ${target}`);
        },
      ),
      { numRuns: 200 },
    );
  });

  test('is right on average where answers are random, within a point', async () => {
    const numQuestions = 1000;
    const target = 0.05;
    const trueLosses: number[] = [];
    for (let seed = 0; seed < 60; seed++) {
      const random = createRandom(`answers ${seed}`);
      // Each question is lost from a λ of its own on: the same random numbers at every λ.
      const limits = Array.from({ length: numQuestions }, () => {
        const u = random.uniform();
        return u < 0.8 ? (u / 0.8 / (1 - u / 0.8)) ** (1 / 1.5) : Number.POSITIVE_INFINITY;
      });
      const measure = async (lambda: number) => ({
        loss: limits.filter((limit) => lambda > limit).length / numQuestions,
        nats: natsAt(lambda, 0),
      });
      const { lambda } = await solveAccuracyLoss(measure, { target, initial: 0.01 });
      trueLosses.push(lossAt(lambda, 0));
    }
    const mean = trueLosses.reduce((sum, value) => sum + value, 0) / trueLosses.length;
    assert.ok(Math.abs(mean - target) < 0.01, `${mean}`);
    // √(p(1 − p)/n) = 0.7 points and the search's own half: three deviations.
    assert.ok(trueLosses.every((value) => Math.abs(value - target) < 0.03));
  });

  test('gives the bound, and says so, where no tilt loses as much', async () => {
    const measure = async (lambda: number) => ({ loss: 0.1 * natsAt(lambda, 0), nats: natsAt(lambda, 0) });
    const { isReached, loss, measurements } = await solveAccuracyLoss(measure, { target: 0.5, initial: 0.01 });
    assert.equal(isReached, false);
    assert.ok(loss > 0.19 && loss <= 0.2);
    assert.ok(measurements.length < 16);
  });

  test('gives the weaker of two neighbours where a step lies between them', async () => {
    const measure = async (lambda: number) => ({ loss: lambda < 1 ? 0 : 0.3, nats: lambda });
    const { lambda, loss, isReached } = await solveAccuracyLoss(measure, {
      target: 0.1,
      initial: 0.05,
      maxMeasurements: 40,
    });
    assert.deepEqual([loss, isReached], [0, true]);
    assert.ok(lambda < 1 && lambda > 0.9);
  });

  test('stops at a measurement that is no number', async () => {
    const measure = async () => ({ loss: Number.NaN, nats: 1 });
    await assert.rejects(solveAccuracyLoss(measure, { target: 0.1, initial: 1 }), DataError);
  });
});
