import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TradeoffPoint } from '../experiment/records.js';
import { createRandom, shuffle } from '../support/random.js';
import { inventTradeoff } from './records.fixture.js';
import { gapBetween, groupSettings, isOrdinary } from './settings.js';

const { points } = inventTradeoff();
const [first] = points.filter(({ arm }) => arm === 'antidistillation');
const pointOf = (changes: Partial<TradeoffPoint>): TradeoffPoint => ({ ...first, ...changes });

test('the order in which points arrive changes nothing', () => {
  const shuffled = shuffle(points, createRandom(1));
  assert.notDeepEqual(shuffled, points);
  assert.deepEqual(groupSettings(shuffled), groupSettings(points));
});

test('every point is in one setting, counts are pooled, and seeds of a setting differ', () => {
  const settings = groupSettings(points);
  assert.equal(settings.flatMap((setting) => setting.points).length, points.length);
  for (const { points: members, student, teacher, numTeachers } of settings) {
    assert.equal(
      student.correct,
      members.reduce((sum, point) => sum + point.student.correct, 0),
    );
    assert.equal(teacher.rate, teacher.correct / teacher.total);
    assert.deepEqual([members.length, numTeachers], [9, 3]);
    assert.equal(new Set(members.map(({ teacherSeed, seed }) => `${teacherSeed} ${seed}`)).size, 9);
  }
});

test('what was solved for does not part settings; what was asked for does', () => {
  const numSettings = (...settings: Record<string, unknown>[]) =>
    groupSettings(settings.map((each, seed) => pointOf({ seed, settings: each }))).length;
  assert.equal(numSettings({ budgetNats: 0.2, lambda: 1 }, { budgetNats: 0.2, lambda: 1.3 }), 1);
  assert.equal(numSettings({ strength: { budgetNats: 0.2 }, lambda: 1 }, { budgetNats: 0.2, lambda: 1.3 }), 1);
  assert.equal(numSettings({ lambda: 1 }, { lambda: 1.3 }), 2);
  assert.equal(numSettings({ budgetNats: 0.1 }, { budgetNats: 0.2 }), 2);
});

test('students that differ from the ordinary one are settings of their own, of the same sampler', () => {
  const variants = [{}, { trainingMultiple: 3 }, { attack: 'x' }, { proxyKind: 'equal' }, { studentKind: 'whiteBox' }];
  const settings = groupSettings(variants.map((changes) => pointOf(changes as Partial<TradeoffPoint>)));
  assert.equal(settings.length, 5);
  assert.equal(settings.filter(isOrdinary).length, 1);
  assert.equal(new Set(settings.map(({ samplerKey }) => samplerKey)).size, 1);
});

test('settings of an arm stand in the order of their strength, the ordinary student first', () => {
  const tilted = groupSettings(points).filter(({ arm }) => arm === 'antidistillation');
  assert.deepEqual(
    tilted.filter(isOrdinary).map(({ label }) => label),
    ['0.05 nats', '0.1 nats', '0.2 nats'],
  );
  const strongest = tilted.filter(({ label }) => label === '0.2 nats');
  assert.ok(isOrdinary(strongest[0]));
});

test('a name is the one of the run, without what the student adds; one given by hand stands for itself', () => {
  const nameOf = (changes: Partial<TradeoffPoint>) => {
    const [{ name, label }] = groupSettings([pointOf(changes)]);
    return [name, label];
  };
  const settings = { budgetNats: 0.2, name: 'antidistillation, 0.2 nats, equal proxy' };
  assert.deepEqual(nameOf({ settings, proxyKind: 'equal' }), ['antidistillation, 0.2 nats', '0.2 nats']);
  assert.deepEqual(nameOf({ settings: { budgetNats: 0.2, name: 'mild' } }), ['mild', 'mild']);
  assert.deepEqual(nameOf({ settings: { lambda: 1.5 } }), ['antidistillation, λ 1.5', 'λ 1.5']);
});

test('a gap is taken over the seeds that both settings have, and its interval holds it', () => {
  const settings = groupSettings(points);
  const [strong] = settings.filter(({ label, ...rest }) => label === '0.2 nats' && isOrdinary({ label, ...rest }));
  const [plain] = settings.filter(({ arm }) => arm === 'temperature');
  const gap = gapBetween(plain, strong)!;
  assert.ok(Math.abs(gap.value - (plain.student.rate - strong.student.rate)) < 1e-12);
  assert.ok(gap.lower < gap.value && gap.value < gap.upper && gap.numPairs === 9);
  const [part] = groupSettings(strong.points.filter(({ teacherSeed }) => teacherSeed === 2));
  assert.equal(gapBetween(plain, part)!.numPairs, 3);
  const [other] = groupSettings([pointOf({ teacherSeed: 99 })]);
  assert.equal(gapBetween(plain, other), undefined);
});

test('an interval holds Wilson’s, and is wider where students differ by more than chance', () => {
  const uneven = [10, 290, 150].map((correct, seed) =>
    pointOf({ seed, student: { correct, total: 300, finished: 300 } }),
  );
  const [{ student }] = groupSettings(uneven);
  assert.ok(student.interval.lower <= student.wilson.lower && student.interval.upper >= student.wilson.upper);
  assert.ok(student.interval.upper - student.interval.lower > 3 * (student.wilson.upper - student.wilson.lower));
});
