/** The figure of the toy: one teacher, two students, ten classes. */
import { drawCurves } from './curve-figure.js';
import type { Figure } from './figure.js';
import { formatNumber, percent } from './format.js';
import { SERIES } from './theme.js';

/** Probabilities of the classes 0–9. */
export interface ToyRecord {
  readonly teacher: readonly number[];
  readonly seqkd: readonly number[];
  readonly gad: readonly number[];
}

export function toyFigure(toy: ToyRecord): Figure {
  const names = ['teacher', 'SeqKD', 'GAD'] as const;
  const series = [toy.teacher, toy.seqkd, toy.gad];
  const likeliest = (probabilities: readonly number[]) => probabilities.indexOf(Math.max(...probabilities));
  return {
    name: 'toy',
    title: 'Covering modes, or seeking one',
    alt: `Probabilities of ten classes. The student of SeqKD spreads over all of them (largest: ${percent(Math.max(...toy.seqkd))} at ${likeliest(toy.seqkd)}); that of GAD stands on one mode (largest: ${percent(Math.max(...toy.gad))} at ${likeliest(toy.gad)}).`,
    caption:
      'A teacher with two modes and students that can have one. Maximum likelihood on its samples (SeqKD) covers both modes and what lies between; a student scored by a discriminator on its own samples (GAD) settles on one.',
    draw: (width) =>
      drawCurves(
        series.map((probabilities, index) => ({
          name: names[index],
          style: SERIES[[4, 0, 1][index]],
          points: probabilities.map((y, x) => ({ x, y })),
        })),
        { width, x: { label: 'class', ticks: toy.teacher.map((_, k) => k) }, y: { label: 'probability' } },
      ),
    table: {
      caption: 'Probabilities of the classes',
      columns: [{ name: 'class' }, ...names.map((name) => ({ name, isNumber: true }))],
      rows: toy.teacher.map((_, k) => [String(k), ...series.map((probabilities) => formatNumber(probabilities[k]))]),
    },
  };
}
