import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { createRandom } from '../../../support/random.js';
import {
  drawClass,
  gaussianProbabilities,
  logProbabilityGradient,
  massOfModes,
  mixtureProbabilities,
} from './distributions.js';
import { runToy } from './run-toy.js';

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

describe('distributions over ten classes', () => {
  test('the gradient of ln p is its central difference', () => {
    const gaussians = fc.record({
      center: fc.double({ min: -2, max: 11, noNaN: true }),
      logWidth: fc.double({ min: -0.7, max: 1.5, noNaN: true }),
    });
    fc.assert(
      fc.property(gaussians, fc.integer({ min: 0, max: 9 }), (gaussian, k) => {
        const step = 1e-5;
        const gradient = logProbabilityGradient(gaussian, gaussianProbabilities(gaussian), k);
        for (const name of ['center', 'logWidth'] as const) {
          const at = (change: number) =>
            Math.log(gaussianProbabilities({ ...gaussian, [name]: gaussian[name] + change })[k]);
          const expected = (at(step) - at(-step)) / (2 * step);
          assert.ok(Math.abs(gradient[name] - expected) < 1e-5 * Math.max(1, Math.abs(expected)), `${name}`);
        }
      }),
      { numRuns: 50 },
    );
  });

  test('a narrow Gaussian is its nearest class; a mixture has the mass of its weights on its modes', () => {
    assert.ok(gaussianProbabilities({ center: 6.1, logWidth: Math.log(0.1) })[6] > 0.999);
    const modes = [
      { center: 1, width: 0.3, weight: 0.25 },
      { center: 8, width: 0.3, weight: 0.75 },
    ];
    const probabilities = mixtureProbabilities(modes);
    assert.ok(Math.abs(sum(probabilities) - 1) < 1e-12);
    const [low, high] = massOfModes(probabilities, modes);
    assert.ok(Math.abs(low - 0.25) < 1e-6 && Math.abs(high - 0.75) < 1e-6);
  });

  test('classes are drawn as often as they are probable', () => {
    const probabilities = [0.5, 0, 0.2, 0.3];
    const random = createRandom('classes');
    const counts = [0, 0, 0, 0];
    for (let index = 0; index < 20_000; index++) counts[drawClass(probabilities, random)] += 1;
    // Four standard deviations of the largest count are 0.0141.
    counts.forEach(
      (count, k) => void assert.ok(Math.abs(count / 20_000 - probabilities[k]) < 0.0142, `${k}: ${count}`),
    );
  });
});

describe('the toy', () => {
  for (const seed of [0, 1]) {
    test(`seed ${seed}: GAD ends on one mode, maximum likelihood over both and the gap`, () => {
      const { teacher, gad, seqkd, gadModeMass, seqkdModeMass, curve } = runToy({ seed, numSteps: 2000 });
      assert.ok(gadModeMass > 0.95, `${gadModeMass}`);
      assert.ok(seqkdModeMass < 0.7 && Math.min(...seqkd) > 0.03, `${seqkdModeMass}`);
      // The teacher says 6 almost never; whoever covers both modes does.
      assert.ok(teacher[6] < 0.01 && gad[6] < 0.03 && seqkd[6] > 0.1);
      assert.equal(curve.length, 50);
    });
  }

  test('maximum likelihood has the mean of the teacher', () => {
    const { teacher, seqkd } = runToy({ seed: 3, numSteps: 2000 });
    const meanOf = (probabilities: readonly number[]) => sum(probabilities.map((probability, k) => k * probability));
    assert.ok(Math.abs(meanOf(seqkd) - meanOf(teacher)) < 0.2);
  });

  test('a seed decides every number', () => {
    assert.deepEqual(runToy({ seed: 5, numSteps: 40 }), runToy({ seed: 5, numSteps: 40 }));
    assert.notDeepEqual(runToy({ seed: 5, numSteps: 40 }).gad, runToy({ seed: 6, numSteps: 40 }).gad);
  });
});
