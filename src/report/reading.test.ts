import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Tradeoff, TradeoffPoint } from '../experiment/records.js';
import { findResults } from './findings.js';
import { percent } from './format.js';
import { type Reading, readResult } from './reading.js';
import { inventDetails, inventTradeoff } from './records.fixture.js';

const tradeoff = inventTradeoff({ teachers: 3, seeds: 1 });
const details = inventDetails();

const read = (points: readonly TradeoffPoint[], undistilled: Tradeoff['undistilled'] = tradeoff.undistilled): Reading =>
  readResult(findResults({ points, undistilled }), details);

const withRate = (point: TradeoffPoint, rate: number): TradeoffPoint => ({
  ...point,
  student: { correct: Math.round(rate * 300), total: 300, finished: 300 },
});

const paragraph = ({ paragraphs }: Reading, title: RegExp): string =>
  paragraphs.find((each) => title.test(each.title))?.text ?? '';

test('the headline tells both students, the verdict which adaptive student undoes the defence', () => {
  const { headline, verdict } = read(tradeoff.points);
  const { defended, undefended, attacks } = findResults(tradeoff);
  assert.ok(headline.includes(percent(defended!.student.rate)) && headline.includes(percent(undefended!.student.rate)));
  assert.match(headline, /^While the teacher answers as well as before/);
  const strongest = attacks.find(({ setting }) => setting.attack === 'readOff')!;
  assert.match(verdict, /^But the defence can be undone: an adaptive student, “read off”/);
  assert.ok(verdict.includes(percent(strongest.setting.student.rate)));
});

test('a defence that nobody undoes is said to stand, one that was not attacked is not', () => {
  const standing = read(tradeoff.points.filter(({ attack }) => attack !== 'readOff'));
  assert.match(standing.verdict, /^None of the 4 adaptive students tried undoes this, though 1 of them weakens it\./);
  const alone = read(tradeoff.points.filter(({ attack }) => attack === null));
  assert.match(alone.verdict, /^Whether an adaptive student can undo this was not measured\./);
  assert.match(paragraph(alone, /knows of the defence/), /nothing here says that the defence holds/);
});

test('longer training that brings the student back is reported as undoing the defence, in headline and paragraph', () => {
  const points = tradeoff.points.flatMap((point) => {
    if (point.attack !== null) return [];
    return point.arm === 'antidistillation' && point.trainingMultiple === 10 ? withRate(point, 0.6) : point;
  });
  const reading = read(points);
  assert.match(reading.verdict, /can be undone: an adaptive student, trained 10 times as long, reaches 60/);
  assert.match(paragraph(reading, /longer training/), /Longer training undoes the defence\./);
  assert.equal(reading.tiles.find(({ name }) => name.includes('trained'))!.tone, 'bad');
});

test('where there is no effect none is claimed, nor is it explained', () => {
  const points = tradeoff.points.map((point) => (point.arm === 'antidistillation' ? withRate(point, 0.7) : point));
  const reading = read(points);
  assert.match(reading.headline, /made no difference that this run can show/);
  assert.equal(reading.verdict, '');
  assert.doesNotMatch(paragraph(reading, /noise/), /direction of Δ that harms/);
});

test('a teacher that pays is said to pay', () => {
  const points = tradeoff.points.map((point) =>
    point.arm === 'antidistillation' ? { ...point, teacher: { correct: 240, total: 300 } } : point,
  );
  assert.match(read(points).headline, /^At a price of 18\spoints of the teacher's own accuracy/);
});

test('a control that costs the student much is said to explain a part of the effect', () => {
  const points = tradeoff.points.map((point) => (point.arm === 'permutation' ? withRate(point, 0.7) : point));
  assert.match(paragraph(read(points), /noise/), /The disturbance alone costs the student 28\spoints/);
  assert.match(paragraph(read(tradeoff.points), /noise/), /it is the direction of Δ that harms students/);
});

test('a control that lies no higher than the defended student does not credit the direction of Δ', () => {
  const small = tradeoff.points.map((point) => {
    const rates: Record<string, number> = { maskedTemperature: 0.17, permutation: 0.08, antidistillation: 0.03 };
    return withRate(point, rates[point.arm] ?? 0.2);
  });
  const few = small.map((point) => ({
    ...point,
    student: { correct: Math.round(point.student.correct / 5), total: 60, finished: 60 },
  }));
  assert.match(paragraph(read(few), /noise/), /this run cannot tell/);
});

test('rules and proxies are judged by their numbers', () => {
  const rules = paragraph(read(tradeoff.points), /simple rule/);
  assert.match(rules, /“and” keeps its teacher at .* above antidistillation’s/);
  assert.match(rules, /“and”, “with” and “plus” keeps .*: on this measure the rule does as well\./);
  const proxies = paragraph(read(tradeoff.points), /depends on/);
  for (const name of ['equal', 'explicit', 'holdout'])
    assert.match(proxies, new RegExp(`“${name}”.* the defence does nothing`));
  assert.match(read(tradeoff.points).verdict, /depends on the proxy: made with “equal”, “explicit” and “holdout”/);
});

test('a rule whose student lies above, but not beyond chance, is not said to do as well', () => {
  const points = tradeoff.points.map((point) => {
    if (point.arm === 'antidistillation') return withRate(point, 0.08);
    return point.arm === 'rule' ? withRate(point, point.teacherSeed === 1 ? 0.9 : 0.07) : point;
  });
  const rules = paragraph(read(points), /simple rule/);
  assert.match(rules, /above antidistillation’s: this run cannot tell the two apart/);
  assert.doesNotMatch(rules, /does as well/);
});

test('students, teachers and questions are counted, and few of them are said to be few', () => {
  assert.match(
    paragraph(read(tradeoff.points), /sure/),
    /^3 students of 3 teachers stand .* 300 questions \(900 answers/,
  );
  const one = inventTradeoff({ teachers: 1, seeds: 1 });
  assert.match(
    paragraph(read(one.points), /sure/),
    /^1 student of 1 teacher stands .*With one student nothing is known/,
  );
  const teacher = inventTradeoff({ teachers: 1, seeds: 2 });
  assert.match(paragraph(read(teacher.points), /sure/), /With one teacher nothing is known/);
});

test('at every moment of a run there is a headline and no word of what is not there', () => {
  for (let count = 0; count < tradeoff.points.length; count += 40) {
    const { headline, verdict, tiles, paragraphs } = read(tradeoff.points.slice(0, count), []);
    const text = JSON.stringify([headline, verdict, tiles, paragraphs]);
    assert.ok(headline.endsWith('.'));
    assert.doesNotMatch(text, /undefined|NaN|null|Infinity/);
  }
  assert.equal(read([]).headline, 'No student has been measured yet.');
});
