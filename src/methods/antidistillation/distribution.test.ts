import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { samplingDistribution } from './distribution.js';

const logprobsOf = (masses: readonly number[]) => {
  const total = masses.reduce((sum, mass) => sum + mass, 0);
  return Float32Array.from(masses, (mass) => Math.log(mass / total));
};

const sumOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);

describe('the sampling distribution', () => {
  const masses = fc.array(fc.double({ min: 1e-6, max: 1, noNaN: true }), { minLength: 2, maxLength: 20 });
  const number = (max: number) => fc.double({ min: -max, max, noNaN: true });

  test('sums to 1, and without a tilt is the tempered softmax', () => {
    fc.assert(
      fc.property(masses, fc.double({ min: 0.1, max: 5, noNaN: true }), number(50), (values, temperature, lambda) => {
        const logprobs = logprobsOf(values);
        const delta = logprobs.map((_, index) => Math.sin(index) * 10);
        const tilted = samplingDistribution(logprobs, delta, { temperature, lambda });
        assert.ok(Math.abs(sumOf(tilted) - 1) < 1e-12);
        const plain = samplingDistribution(logprobs, delta, { temperature, lambda: 0 });
        const tempered = [...logprobs].map((value) => Math.exp(value / temperature));
        plain.forEach((value, id) => {
          assert.ok(Math.abs(value - tempered[id] / sumOf(tempered)) < 1e-12);
        });
      }),
    );
  });

  test('log-odds move by λ times the difference of Δ, after the temperature', () => {
    const logprobs = logprobsOf([1, 2, 3]);
    const delta = Float32Array.of(4, -1, 0.5);
    const p = samplingDistribution(logprobs, delta, { temperature: 0.5, lambda: 0.3 });
    const odds = Math.log(p[0] / p[1]);
    assert.ok(Math.abs(odds - ((logprobs[0] - logprobs[1]) / 0.5 + 0.3 * 5)) < 1e-9);
  });

  test('rows that the proxy has not are not tilted; ids without a token have no mass; at temperature 0 all is on the likeliest', () => {
    const logprobs = logprobsOf([1, 5, 3, 6]);
    const short = samplingDistribution(logprobs, Float32Array.of(1, -1), { temperature: 1, lambda: 2 });
    assert.deepEqual(
      short,
      samplingDistribution(logprobs, Float32Array.of(1, -1, 0, 0), { temperature: 1, lambda: 2 }),
    );
    const isNamed = (id: number) => id < 3;
    const named = samplingDistribution(logprobs, undefined, { temperature: 1, lambda: 0, isNamed });
    assert.equal(named[3], 0);
    assert.ok(Math.abs(sumOf(named) - 1) < 1e-12);
    assert.deepEqual(
      samplingDistribution(logprobs, Float32Array.of(9, 0, 0, 0), { temperature: 0, lambda: 5, isNamed }),
      [0, 1, 0, 0],
    );
  });
});
