import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { findAlarms, type StepRow } from './alarms.js';

const calm = (step: number): StepRow => ({
  step,
  phase: 'adversarial',
  epoch: 1,
  rewardMean: 0,
  teacherRewardMean: 0.5,
  groupRewardSpread: 0.2,
  discriminatorLossNats: 0.6,
  discriminatorAccuracy: 0.7,
  discriminatorGradientNorm: 1,
  studentLossNats: 0,
  studentGradientNorm: 1,
  studentUpdates: 1,
  klNats: 0,
  clippedFraction: 0,
  samplingDifferenceNats: 0,
  entropyNats: 1,
  responseLength: 20,
  teacherLength: 20,
  finishedFraction: 1,
  rougeL: 0.5,
  numTokens: 100,
  validation: null,
  rolloutMs: 1,
  scoreMs: 1,
  studentMs: 1,
  discriminatorMs: 1,
});
/** 60 calm steps with changes from step 1 on. */
const run = (change: (step: number) => Partial<StepRow>, numSteps = 60): StepRow[] =>
  Array.from({ length: numSteps }, (_, index) => ({ ...calm(index + 1), ...change(index + 1) }));
const kinds = (rows: readonly StepRow[]) => findAlarms(rows).map(({ kind }) => kind);

describe('alarms', () => {
  test('a calm run has none, nor has a warm-up whatever happens in it', () => {
    assert.deepEqual(kinds(run(() => ({}))), []);
    assert.deepEqual(kinds(run(() => ({ phase: 'warmup', discriminatorAccuracy: 1, groupRewardSpread: 0 }))), []);
    assert.deepEqual(findAlarms([]), []);
  });

  test('the discriminator wins after 50 steps above 0.95, not after 49, and the message names step and settings', () => {
    const won = (from: number) => run((step) => ({ discriminatorAccuracy: step >= from ? 0.96 : 0.7 }));
    const [alarm] = findAlarms(won(11));
    assert.equal(alarm.kind, 'discriminatorWins');
    assert.match(alarm.message, /^Step 60: .*discriminator\.learningRate/);
    assert.deepEqual(kinds(won(12)), []);
  });

  test('length drifts beyond twice or below half of the first steps', () => {
    const drifted = (factor: number) => kinds(run((step) => ({ responseLength: step > 45 ? 20 * factor : 20 })));
    assert.deepEqual(
      [drifted(2.1), drifted(1.9), drifted(0.6), drifted(0.4)],
      [['lengthDrift'], [], [], ['lengthDrift']],
    );
  });

  const hacked = ({ correct, reward }: { correct: number; reward: number }) =>
    run((step) => ({
      rewardMean: step > 40 ? reward : 0,
      validation: step % 20 === 0 ? { correct: step > 40 ? correct : 80, total: 100 } : null,
    }));
  test('reward that rises while the validation score falls significantly', () => {
    // Two standard errors of a fall from .80 are about .12.
    assert.deepEqual(kinds(hacked({ correct: 60, reward: 1 })), ['rewardHacking']);
    assert.deepEqual(kinds(hacked({ correct: 75, reward: 1 })), [], 'within the error');
    assert.deepEqual(kinds(hacked({ correct: 60, reward: -1 })), [], 'the reward fell too');
  });

  test('a level of scores that moves as a whole is no reward: Bradley–Terry leaves it open', () => {
    const rows = hacked({ correct: 60, reward: 1 }).map((row) => ({
      ...row,
      teacherRewardMean: row.rewardMean! + 0.5,
    }));
    assert.deepEqual(kinds(rows), []);
  });

  test('it is raised at the evaluation that shows it', () => {
    assert.deepEqual(kinds(hacked({ correct: 60, reward: 1 }).slice(0, 59)), []);
  });

  test('groups whose rewards are all but equal', () => {
    const collapsed = (spread: number) => kinds(run((step) => ({ groupRewardSpread: step > 50 ? spread : 0.2 })));
    assert.deepEqual([collapsed(0.001), collapsed(0.01)], [['collapsedGroups'], []]);
    assert.deepEqual(kinds(run(() => ({ groupRewardSpread: 0 }))), ['collapsedGroups'], 'from the start');
  });
});
