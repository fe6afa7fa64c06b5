import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRandom, deriveSeed, philox4x32, restoreRandom, shuffle, uniformAt } from './random.js';

/** Asserts that the chi-squared statistic of counts against equal expectation lies within 5 deviations of its mean. */
function assertEvenCounts(counts: number[]): void {
  const expected = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  const statistic = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  const degrees = counts.length - 1;
  const deviations = (statistic - degrees) / Math.sqrt(2 * degrees);
  assert.ok(Math.abs(deviations) < 5, `chi-squared ${statistic} at ${degrees} degrees of freedom`);
}

test('philox4x32 gives the known answers published with Random123', () => {
  const output = new Uint32Array(4);
  philox4x32(output, [0, 0, 0, 0], [0, 0]);
  assert.deepEqual([...output], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  const ones = 0xffffffff;
  philox4x32(output, [ones, ones, ones, ones], [ones, ones]);
  assert.deepEqual([...output], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
  philox4x32(output, [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]);
  assert.deepEqual([...output], [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
});

test('uniform numbers fill [0, 1) evenly and neighbours are independent', () => {
  const random = createRandom(7);
  const counts = new Array(100).fill(0);
  let previous = random.uniform();
  for (let draw = 0; draw < 200_000; draw++) {
    const value = random.uniform();
    assert.ok(value >= 0 && value < 1);
    counts[Math.floor(previous * 10) * 10 + Math.floor(value * 10)] += 1;
    previous = value;
  }
  assertEvenCounts(counts);
});

test('normal numbers have the moments of the standard normal distribution', () => {
  const random = createRandom('moments');
  const numDraws = 200_000;
  const moments = [0, 0, 0, 0];
  for (let draw = 0; draw < numDraws; draw++) {
    const value = random.normal();
    for (let order = 0; order < 4; order++) moments[order] += value ** (order + 1) / numDraws;
  }
  // Five standard errors: the variance of x^k is E x^2k - (E x^k)^2 = 1, 2, 15, 96.
  for (const [order, expected, variance] of [
    [0, 0, 1],
    [1, 1, 2],
    [2, 0, 15],
    [3, 3, 96],
  ] as const) {
    assert.ok(
      Math.abs(moments[order] - expected) < 5 * Math.sqrt(variance / numDraws),
      `moment ${order + 1}: ${moments[order]}`,
    );
  }
});

test('integers are even over their bound, and a bound below 1 is refused', () => {
  const random = createRandom(1);
  const counts = new Array(7).fill(0);
  for (let draw = 0; draw < 70_000; draw++) counts[random.integer(7)] += 1;
  assertEvenCounts(counts);
  assert.throws(() => random.integer(0), /bound/);
});

test('a state that went through JSON continues the stream exactly, at every phase', () => {
  for (const numBefore of [0, 1, 2, 3, 10]) {
    const random = createRandom('state');
    for (let draw = 0; draw < numBefore; draw++) random.normal();
    random.uniform();
    const restored = restoreRandom(JSON.parse(JSON.stringify(random.state())));
    for (let draw = 0; draw < 20; draw++) {
      assert.equal(restored.uniform(), random.uniform());
      assert.equal(restored.normal(), random.normal());
    }
  }
});

test('equal seeds give equal streams, unequal seeds do not, and a number is its decimal notation', () => {
  assert.equal(createRandom(42).uniform(), createRandom('42').uniform());
  assert.notEqual(createRandom(42).uniform(), createRandom(43).uniform());
});

test('uniformAt is even over counters and over seeds, and depends on nothing else', () => {
  const overCounters = new Array(64).fill(0);
  const overSeeds = new Array(64).fill(0);
  for (let index = 0; index < 50_000; index++) {
    overCounters[Math.floor(uniformAt('seed', index) * 64)] += 1;
    overSeeds[Math.floor(uniformAt(index, 3) * 64)] += 1;
  }
  assertEvenCounts(overCounters);
  assertEvenCounts(overSeeds);
  const before = uniformAt('a', 5);
  uniformAt('b', 5);
  createRandom('a').uniform();
  assert.equal(uniformAt('a', 5), before);
  assert.notEqual(uniformAt('a', 2 ** 40), uniformAt('a', 2 ** 40 + 2 ** 32));
});

test('deriveSeed separates its parts', () => {
  assert.equal(deriveSeed('run', 1), deriveSeed('run', 1));
  const seeds = [deriveSeed('ab', 'c'), deriveSeed('a', 'bc'), deriveSeed('abc'), deriveSeed(1), deriveSeed('1')];
  assert.equal(new Set(seeds).size, seeds.length);
});

test('shuffle reaches all orders equally often and leaves its argument alone', () => {
  const random = createRandom(11);
  const values = Object.freeze(['a', 'b', 'c', 'd']);
  const counts = new Map<string, number>();
  for (let draw = 0; draw < 24_000; draw++) {
    const order = shuffle(values, random).join('');
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  assert.equal(counts.size, 24);
  assertEvenCounts([...counts.values()]);
});
