/** What the students of a distillation run can do, as a figure; and counts put together. */
import { wilsonInterval } from '../evaluation/intervals.js';
import type { DistillRecords } from '../experiment/distill/record-book.js';
import type { DistillRow } from '../experiment/distill/records.js';
import type { Count } from '../experiment/records.js';
import type { Figure } from './figure.js';
import { drawForest } from './forest-figure.js';
import { countOf, formatPercent, percent } from './format.js';
import { SERIES } from './theme.js';

/** Rows of a variant, in the order of the run. */
export function byVariant<Row extends { readonly variant: string }>(
  rows: readonly Row[],
): { name: string; rows: readonly Row[] }[] {
  return [...new Set(rows.map(({ variant }) => variant))].map((name) => ({
    name,
    rows: rows.filter(({ variant }) => variant === name),
  }));
}

/** Counts of several seeds together, with the interval of their sum. */
export function pooled(counts: readonly Count[]) {
  const correct = counts.reduce((sum, count) => sum + count.correct, 0);
  const total = counts.reduce((sum, count) => sum + count.total, 0);
  return {
    rate: correct / total,
    interval: wilsonInterval(correct, total),
    seeds: counts.map((count) => count.correct / count.total),
  };
}

export function accuracyFigure({ distill: { rows }, details: { undistilled, teacher } }: DistillRecords): Figure {
  const groups = [
    ...(undistilled.length === 0 ? [] : [{ name: 'undistilled', rows: undistilled }]),
    ...byVariant<Pick<DistillRow, 'variant' | 'inDistribution' | 'outOfDistribution'>>(rows),
  ];
  const outside = (all: readonly Pick<DistillRow, 'outOfDistribution'>[]) =>
    all.flatMap(({ outOfDistribution }) => (outOfDistribution === null ? [] : [outOfDistribution]));
  const mostSeeds = Math.max(...groups.map((group) => group.rows.length));
  const lines = groups.flatMap(({ name, rows: own }, index) => {
    // Students of fewer seeds stand beside means of other students: a reader must see that.
    const group = { name: own.length < mostSeeds ? `${name} (${countOf(own.length, 'seed')})` : name, rows: own };
    const counts = [
      { name: group.name, counts: group.rows.map(({ inDistribution }) => inDistribution), style: SERIES[0] },
      { name: `${group.name}, elsewhere`, counts: outside(group.rows), style: SERIES[1] },
    ];
    return counts
      .filter((line) => line.counts.length > 0)
      .map((line, at) => {
        const { seeds, ...value } = pooled(line.counts);
        return { name: line.name, style: line.style, value, seeds, isFirstOfGroup: index > 0 && at === 0 };
      });
  });
  return {
    name: 'accuracy',
    title: 'What students can do',
    alt: lines.map(({ name, value }) => `${name} ${percent(value.rate)}`).join(', '),
    caption:
      'Accuracy on questions like those learned from, and elsewhere (out of distribution). Small dots are seeds; lines are 95 % intervals of all answers together, which do not know that seeds differ.',
    draw: (width) =>
      drawForest(lines, {
        width,
        axisLabel: 'right answers (%)',
        legend: [
          { name: 'in distribution', style: SERIES[0] },
          { name: 'out of distribution', style: SERIES[1] },
        ],
        references:
          teacher === null
            ? []
            : [{ name: 'teacher', rate: teacher.inDistribution.correct / teacher.inDistribution.total }],
      }),
    table: {
      caption: 'Accuracy by student',
      columns: [{ name: 'student' }, { name: 'right', isNumber: true }, { name: '95 % interval', isNumber: true }],
      rows: lines.map(({ name, value: { rate, interval } }) => [
        name,
        percent(rate),
        `${formatPercent(interval.lower)}–${formatPercent(interval.upper)}`,
      ]),
    },
  };
}
