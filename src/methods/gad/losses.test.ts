import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type DiscriminatorLoss, discriminatorLoss, groupAdvantages } from './losses.js';

const scores = fc.double({ min: -6, max: 6, noNaN: true });
const groups = fc.record({ teacher: scores, students: fc.array(scores, { minLength: 1, maxLength: 6 }) });

describe('loss of the discriminator', () => {
  for (const kind of ['bradleyTerry', 'crossEntropy'] as const satisfies readonly DiscriminatorLoss[]) {
    test(`${kind}: each gradient is the central difference of the loss`, () => {
      fc.assert(
        fc.property(groups, ({ teacher, students }) => {
          const step = 1e-5;
          const lossAt = (change: (index: number) => number) =>
            discriminatorLoss(kind, {
              teacher: teacher + change(-1),
              students: students.map((score, index) => score + change(index)),
            }).lossNats;
          const difference = (index: number) =>
            (lossAt((at) => (at === index ? step : 0)) - lossAt((at) => (at === index ? -step : 0))) / (2 * step);
          const { teacherGradient, studentGradients } = discriminatorLoss(kind, { teacher, students });
          [teacherGradient, ...studentGradients].forEach((gradient, at) => {
            assert.ok(Math.abs(gradient - difference(at - 1)) < 1e-8);
          });
        }),
      );
    });
  }

  test('equal scores cost ln 2 a pair, win half of the pairs, and push each side by a half', () => {
    const equal = { teacher: 0.3, students: [0.3, 0.3] };
    assert.deepEqual(discriminatorLoss('bradleyTerry', equal), {
      lossNats: Math.LN2,
      accuracy: 0.5,
      teacherGradient: -0.5,
      studentGradients: [0.25, 0.25],
    });
  });

  test('Bradley–Terry sees differences of scores only; cross-entropy their level', () => {
    const at = (shift: number, kind: DiscriminatorLoss) =>
      discriminatorLoss(kind, { teacher: 1 + shift, students: [0.25 + shift, -2 + shift] }).lossNats;
    assert.equal(at(4, 'bradleyTerry'), at(0, 'bradleyTerry'));
    assert.ok(at(4, 'crossEntropy') > at(0, 'crossEntropy') + 0.5);
  });

  test('scores far apart neither overflow nor lose their gradient', () => {
    const lost = discriminatorLoss('bradleyTerry', { teacher: -1000, students: [1000] });
    assert.deepEqual([lost.lossNats, lost.teacherGradient, lost.studentGradients], [2000, -1, [1]]);
    assert.equal(discriminatorLoss('bradleyTerry', { teacher: 1000, students: [-1000] }).lossNats, 0);
  });
});

describe('advantages of a group', () => {
  test('have mean 0 and standard deviation 1, in the order of the rewards', () => {
    const advantages = groupAdvantages([1, 2, 3, 6]);
    const spread = Math.sqrt((4 + 1 + 0 + 9) / 3);
    for (const [at, expected] of [-2, -1, 0, 3].entries()) {
      assert.ok(Math.abs(advantages[at] - expected / spread) < 1e-5);
    }
  });

  test('a shift of all rewards changes nothing; equal rewards and a group of one say nothing', () => {
    assert.deepEqual(groupAdvantages([5, 6, 10]), groupAdvantages([1, 2, 6]));
    assert.deepEqual(groupAdvantages([0.25, 0.25, 0.25]), [0, 0, 0]);
    assert.deepEqual(groupAdvantages([7]), [0]);
  });
});
