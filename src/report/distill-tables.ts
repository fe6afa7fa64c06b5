/** Tables of a distillation run: students with their intervals, ablations, diagnostics, cost. */
import { differenceInterval, type Interval } from '../evaluation/intervals.js';
import type { DistillRecords } from '../experiment/distill/record-book.js';
import type { DistillRow, StudentDetails } from '../experiment/distill/records.js';
import type { Count } from '../experiment/records.js';
import { byVariant, pooled } from './distill-figures.js';
import { formatCount, formatDuration, formatNumber, formatPercent, percent, percentWithInterval } from './format.js';
import type { Table } from './table.js';

const columnsOf = (names: readonly string[], numTexts = 1) =>
  names.map((name, index) => ({ name, isNumber: index >= numTexts }));

type Student = DistillRow & StudentDetails;

/** Rows with their details: both records name students in the same order, and one in training has no row. */
export const doneStudents = ({ distill, details }: DistillRecords): Student[] =>
  distill.rows.map((row, index) => ({ ...details.students[index], ...row }));

const rateOf = (counts: readonly Count[]): string | null => {
  if (counts.length === 0) return null;
  const { rate, interval } = pooled(counts);
  return percentWithInterval(rate, interval);
};

const known = <T>(values: readonly (T | null | undefined)[]): T[] =>
  values.flatMap((value) => (value === null || value === undefined ? [] : [value]));

/** The final table: all seeds of a variant together. */
export function resultTable(records: DistillRecords): Table {
  const { teacher, undistilled } = records.details;
  const students = doneStudents(records);
  const others = [...new Set(students.flatMap(({ otherTasks }) => Object.keys(otherTasks)))];
  type Scored = Pick<Student, 'inDistribution' | 'outOfDistribution' | 'otherTasks'>;
  const scores = (all: readonly Scored[]) => [
    rateOf(all.map(({ inDistribution }) => inDistribution)),
    rateOf(known(all.map(({ outOfDistribution }) => outOfDistribution))),
    ...others.map((name) => rateOf(known(all.map(({ otherTasks }) => otherTasks[name])))),
  ];
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    caption:
      'Right answers with 95 % intervals, all seeds together; length of answers, and tokens of the teacher learned from',
    isCaptionShown: true,
    columns: columnsOf([
      'student',
      'seeds',
      'in distribution',
      'out of distribution',
      ...others,
      'length',
      'tokens',
      'alarms',
    ]),
    rows: [
      ...(teacher === null ? [] : [['teacher', null, ...scores([teacher]), null, null, null]]),
      ...(undistilled.length === 0
        ? []
        : [['undistilled', String(undistilled.length), ...scores(undistilled), null, null, null]]),
      ...byVariant(students).map(({ name, rows }) => [
        ...[name, String(rows.length), ...scores(rows)],
        formatNumber(mean(rows.map(({ meanLength }) => meanLength))),
        formatCount(mean(rows.map(({ tokens }) => tokens))),
        String(rows.reduce((sum, { alarms }) => sum + alarms.length, 0)),
      ]),
    ],
  };
}

/** Adversarial variants beside the first of them that changes nothing, on the same seeds; undefined where there is nothing to compare. */
export function ablationTable(records: DistillRecords): Table | undefined {
  const groups = byVariant(doneStudents(records).filter(({ method }) => method === 'gad'));
  const base = groups.find(({ rows }) => Object.keys(rows[0].set).length === 0);
  if (base === undefined || groups.length < 2) return undefined;
  return {
    caption: `What differs from ${base.name}, and right answers in (inside) and out of distribution (outside); differences in points with 95 % intervals, on the same seeds`,
    isCaptionShown: true,
    columns: columnsOf(['student', 'changed', 'inside', 'difference', 'outside', 'difference'], 2),
    rows: groups.map(({ name, rows }) => {
      const seeds = rows.map(({ seed }) => seed);
      const beside = base.rows.filter(({ seed }) => seeds.includes(seed));
      const compared = (of: (student: Student) => Count | null) => {
        const own = known(rows.map(of));
        const theirs = known(beside.map(of));
        const isBase = name === base.name;
        const difference = isBase || own.length === 0 || theirs.length === 0 ? null : describeDifference(own, theirs);
        return [own.length === 0 ? null : percent(pooled(own).rate), difference];
      };
      return [
        name,
        Object.entries(rows[0].set)
          .map(([place, value]) => `${place.replace(/^gad\./, '')}: ${JSON.stringify(value)}`)
          .join(', ') || '–',
        ...compared(({ inDistribution }) => inDistribution),
        ...compared(({ outOfDistribution }) => outOfDistribution),
      ];
    }),
  };
}

function describeDifference(own: readonly Count[], theirs: readonly Count[]): string {
  const sum = (counts: readonly Count[], of: keyof Count) => counts.reduce((total, count) => total + count[of], 0);
  const [first, second] = [own, theirs].map((counts) => ({
    correct: sum(counts, 'correct'),
    total: sum(counts, 'total'),
  }));
  const { difference, lower, upper } = differenceInterval(first, second);
  return `${signed(difference)} (${signed(lower)} to ${signed(upper)})`;
}

const signed = (proportion: number): string => `${proportion > 0 ? '+' : ''}${formatPercent(proportion)}`;

/** Every student with its counts. */
export function studentTable(records: DistillRecords): Table {
  return {
    caption: 'Every student with its counts',
    columns: columnsOf([
      'student',
      'seed',
      'in distribution',
      'out of distribution',
      'validation',
      'kept step',
      'alarms',
    ]),
    rows: doneStudents(records).map((row) => [
      ...[row.variant, String(row.seed), ratio(row.inDistribution)],
      row.outOfDistribution && ratio(row.outOfDistribution),
      row.validation && ratio(row.validation),
      row.validation === null ? 'last' : String(row.validation.step),
      String(row.alarms.length),
    ]),
  };
}

const ratio = ({ correct, total }: Count): string => `${correct}/${total}`;

/** How much students copy; undefined where the teacher's answers are not known. */
export function overlapTable(records: DistillRecords): Table | undefined {
  const groups = byVariant(doneStudents(records).filter(({ overlap }) => (overlap ?? null) !== null));
  if (groups.length === 0) return undefined;
  return {
    caption: 'Words shared with the teacher’s answers to the same questions (F-measures, in distribution, first seed)',
    isCaptionShown: true,
    columns: columnsOf(['student', 'ROUGE-L', '1-grams', '2-grams', '3-grams', '4-grams', 'questions']),
    rows: groups.map(({ name, rows: [{ overlap }] }) => [
      name,
      formatNumber(overlap!.rougeL),
      ...overlap!.ngrams.map((value) => (value === null ? null : formatNumber(value))),
      formatCount(overlap!.numPairs),
    ]),
  };
}

/** Time and tokens of each variant's first seed. */
export function costTable(records: DistillRecords): Table {
  const firsts = byVariant(doneStudents(records)).map(({ rows }) => rows[0]);
  return {
    caption: 'What a student costs (first seed)',
    isCaptionShown: true,
    columns: columnsOf(['student', 'teacher’s tokens', 'tokens sampled', 'training', 'with evaluation']),
    rows: firsts.map((row) => [
      row.variant,
      formatCount(row.tokens),
      row.steps.length === 0 ? null : formatCount(row.steps.reduce((sum, step) => sum + step.numTokens, 0)),
      row.trainingMs === null ? null : formatDuration(row.trainingMs),
      formatDuration(row.wallMs),
    ]),
  };
}

/** Times of the parts of adversarial steps; undefined where there are none. */
export function stepTable({ details: { students } }: DistillRecords): Table | undefined {
  const parts = ['rolloutMs', 'scoreMs', 'studentMs', 'discriminatorMs'] as const;
  const rows = students.flatMap(({ variant, seed, steps }) => {
    const own = steps.filter(({ phase }) => phase === 'adversarial');
    if (own.length === 0) return [];
    const sum = (of: (row: (typeof own)[number]) => number) => own.reduce((total, row) => total + of(row), 0);
    return [
      [
        ...[variant, String(seed)],
        ...parts.map((part) => formatNumber(Math.round(sum((row) => row[part]) / own.length))),
        formatNumber(sum(({ numTokens }) => numTokens) / own.length),
        formatCount((1000 * sum(({ numTokens }) => numTokens)) / sum(({ rolloutMs }) => rolloutMs)),
      ],
    ];
  });
  if (rows.length === 0) return undefined;
  const names = ['rollouts', 'scores', 'student', 'discriminator', 'tokens', 'tokens/s'];
  return {
    caption: 'An adversarial step on average: milliseconds of its parts; tokens sampled, and how many a second',
    isCaptionShown: true,
    columns: columnsOf(['student', 'seed', ...names]),
    rows,
  };
}

/** Largest difference between the log-probabilities of sampling and of training, in nats; undefined without adversarial steps. */
export function largestSamplingDifference({ details: { students } }: DistillRecords): number | undefined {
  const all = students.flatMap(({ steps }) => known(steps.map(({ samplingDifferenceNats }) => samplingDifferenceNats)));
  return all.length === 0 ? undefined : all.reduce((most, value) => Math.max(most, value), 0);
}

/** Pooled rates, with what the headline needs. */
interface GroupRate {
  readonly name: string;
  readonly seeds: readonly number[];
  readonly inside: { readonly rate: number; readonly interval: Interval };
  readonly outside: { readonly rate: number; readonly interval: Interval } | null;
}

/**
 * The variant of a method that a run is about: the one with the most seeds, of equals the first in the run's order. How well its
 * students answer plays no part, or the best of many ablations would be told as the method. With `seeds` only those, where it has any of them.
 */
export function mainOfMethod(
  rows: readonly DistillRow[],
  method: DistillRow['method'],
  seeds?: readonly number[],
): GroupRate | undefined {
  const groups = byVariant(rows.filter((row) => row.method === method));
  const [main] = groups.sort((a, b) => b.rows.length - a.rows.length);
  if (main === undefined) return undefined;
  const shared = main.rows.filter(({ seed }) => seeds === undefined || seeds.includes(seed));
  const own = shared.length === 0 ? main.rows : shared;
  const outside = known(own.map(({ outOfDistribution }) => outOfDistribution));
  return {
    name: main.name,
    seeds: own.map(({ seed }) => seed),
    inside: pooled(own.map(({ inDistribution }) => inDistribution)),
    outside: outside.length === 0 ? null : pooled(outside),
  };
}
