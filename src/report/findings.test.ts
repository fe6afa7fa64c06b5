import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Tradeoff, TradeoffPoint } from '../experiment/records.js';
import { findResults } from './findings.js';
import { inventTradeoff } from './records.fixture.js';

const tradeoff = inventTradeoff({ teachers: 3, seeds: 1 });

/** The same run where points of some kind have other counts, or are not there. */
function changed(change: (point: TradeoffPoint) => TradeoffPoint | undefined): Tradeoff {
  return { ...tradeoff, points: tradeoff.points.flatMap((point) => change(point) ?? []) };
}

const withStudent = (point: TradeoffPoint, rate: number): TradeoffPoint => ({
  ...point,
  student: { correct: Math.round(300 * rate), total: 300, finished: 300 },
});

const withTeacher = (point: TradeoffPoint, rate: number): TradeoffPoint => ({
  ...point,
  teacher: { correct: Math.round(300 * rate), total: 300 },
});

const isTilted = ({ arm, settings }: TradeoffPoint, budgetNats: number) =>
  arm === 'antidistillation' && settings.budgetNats === budgetNats;

test('the defence that is told of is the one with most kinds of students, whatever its student answers', () => {
  assert.equal(findResults(tradeoff).defended!.label, '0.2 nats');
  const weak = changed((point) => (isTilted(point, 0.2) ? withStudent(point, 0.9) : point));
  assert.equal(findResults(weak).defended!.label, '0.2 nats');
});

test('a defence whose teacher falls by more than three points gives way to one whose teacher does not', () => {
  const costly = changed((point) => (isTilted(point, 0.2) ? withTeacher(point, 0.9) : point));
  const { defended, isTeacherKept } = findResults(costly);
  assert.deepEqual([defended!.label, isTeacherKept], ['0.1 nats', true]);
  const all = changed((point) => (point.arm === 'antidistillation' ? withTeacher(point, 0.9) : point));
  assert.equal(findResults(all).isTeacherKept, false);
});

test('the comparison is with the weakest undefended student whose teacher is as good', () => {
  assert.equal(findResults(tradeoff).undefended!.label, 'τ 4');
  const worse = changed((point) =>
    point.arm === 'maskedTemperature' && point.settings.temperature === 4 ? withTeacher(point, 0.9) : point,
  );
  assert.equal(findResults(worse).undefended!.label, 'τ 2');
});

test('an adaptive student undoes a defence from half of what it took, weakens it beyond chance from a tenth', () => {
  const verdictOf = (rate: number) => {
    const run = changed((point) => (point.attack === 'readOff' ? withStudent(point, rate) : point));
    return findResults(run).attacks.find(({ setting }) => setting.attack === 'readOff')!;
  };
  const { ordinary, share } = verdictOf(0.5);
  const taken = findResults(tradeoff).undefended!.student.rate - ordinary.student.rate;
  assert.ok(Math.abs(share! - (0.5 - ordinary.student.rate) / taken) < 1e-12);
  const half = ordinary.student.rate + taken / 2;
  assert.deepEqual(
    [half + 0.01, half - 0.01, 0.16, 0.09].map((rate) => verdictOf(rate).verdict),
    ['undone', 'weakened', 'weakened', 'holds'],
  );
});

test('where the defence takes nothing there is nothing to undo', () => {
  const useless = changed((point) => (point.arm === 'antidistillation' ? withStudent(point, 0.7) : point));
  const { gap, attacks } = findResults(useless);
  assert.ok(gap!.lower <= 0);
  assert.deepEqual(new Set(attacks.map(({ share }) => share)), new Set([null]));
});

test('longer training is compared with the undefended student of the same length, and only of this defence', () => {
  const { longer, undefended } = findResults(tradeoff);
  assert.deepEqual(
    longer.map(({ multiple, undefended: other }) => [multiple, other!.trainingMultiple, other!.samplerKey]),
    [3, 10].map((multiple) => [multiple, multiple, undefended!.samplerKey]),
  );
});

test('the control is the one at the strength of the defence, and other proxies are kept apart from it', () => {
  const { permuted, proxies, whiteBox, rules } = findResults(tradeoff);
  assert.equal(permuted!.setting.label, '0.2 nats');
  assert.deepEqual(proxies.map(({ setting }) => setting.proxyKind).sort(), ['equal', 'explicit', 'holdout']);
  assert.deepEqual([whiteBox.length, rules.length], [1, 2]);
});

test('the control is compared with plain sampling where the masked arm has no point at its temperature', () => {
  const { maskedPlain, plain } = findResults(tradeoff);
  assert.deepEqual([maskedPlain!.name, plain!.name], ['temperature 1, masked', 'temperature 1']);
  const hotOnly = changed((point) =>
    point.arm === 'maskedTemperature' && point.settings.temperature === 1 ? undefined : point,
  );
  const { maskedPlain: absent, permuted, plain: base } = findResults(hotOnly);
  assert.equal(absent, undefined);
  const loss = base!.student.rate - permuted!.setting.student.rate;
  assert.ok(Math.abs(permuted!.lossAgainstPlain!.value - loss) < 1e-12);
});

test('a run that has only begun has findings: whatever is not there is absent', () => {
  for (let count = 0; count < tradeoff.points.length; count += 60) {
    const { settings, defended } = findResults({ points: tradeoff.points.slice(0, count), undistilled: [] });
    assert.equal(settings.length > 0, count > 0);
    assert.equal(
      defended === undefined,
      !tradeoff.points.slice(0, count).some(({ arm }) => arm === 'antidistillation'),
    );
  }
});
