/** Figures of a distillation run: what students can do, and how adversarial ones came to it. */
import { wilsonInterval } from '../evaluation/intervals.js';
import type { Distill, DistillRow } from '../experiment/distill/records.js';
import type { Count } from '../experiment/records.js';
import { drawCurves } from './curve-figure.js';
import type { Figure } from './figure.js';
import { drawForest } from './forest-figure.js';
import { formatNumber, formatPercent, percent } from './format.js';
import { SERIES } from './theme.js';

type Steps = Distill['curves'][number]['steps'];
type StepNumber = (row: Steps[number]) => number | null;

/** Rows of a variant, in the order of the run. */
export function byVariant(rows: readonly DistillRow[]): { name: string; rows: readonly DistillRow[] }[] {
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

export function accuracyFigure({ rows, undistilled, teacher }: Distill): Figure {
  const groups = [{ name: 'undistilled', rows: undistilled }, ...byVariant(rows)];
  const outside = (all: readonly Pick<DistillRow, 'outOfDistribution'>[]) =>
    all.flatMap(({ outOfDistribution }) => (outOfDistribution === null ? [] : [outOfDistribution]));
  const lines = groups.flatMap((group, index) => {
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
        axisLabel: 'right answers',
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

interface CurveSpec {
  readonly name: string;
  readonly title: string;
  readonly label: string;
  readonly caption: string;
  readonly of: StepNumber;
}

const margin: StepNumber = ({ rewardMean, teacherRewardMean }) =>
  rewardMean === null || teacherRewardMean === null ? null : rewardMean - teacherRewardMean;

const CURVES: readonly CurveSpec[] = [
  {
    ...{ name: 'validation', title: 'Validation score', label: 'right answers' },
    caption: 'Accuracy on the validation split, by which the student that is kept is chosen.',
    of: ({ validation }) => (validation === null ? null : validation.correct / validation.total),
  },
  {
    ...{ name: 'reward', title: 'Reward', label: 'score, the teacher’s being 0', of: margin },
    caption:
      'Mean score of the student’s responses less that of the teacher’s: Bradley–Terry leaves the level of scores open.',
  },
  {
    ...{ name: 'discriminator', title: 'Accuracy of the discriminator', label: 'pairs told apart' },
    caption:
      'Share of pairs in which the teacher’s response has the higher score; 0.5 is guessing, above 0.95 it has won.',
    of: ({ discriminatorAccuracy }) => discriminatorAccuracy,
  },
  {
    ...{ name: 'kl', title: 'Distance from the warm-up', label: 'nats a token' },
    caption: 'KL of the student to what the warm-up left, by the estimator k3.',
    of: ({ klNats }) => klNats,
  },
  {
    ...{ name: 'length', title: 'Length of responses', label: 'tokens' },
    caption: 'Mean length of the student’s responses; an alarm is raised beyond twice what it was at first.',
    of: ({ responseLength }) => responseLength,
  },
  {
    ...{ name: 'entropy', title: 'Entropy', label: 'nats a token' },
    caption: 'Mean of −ln p of the tokens drawn, an estimate of the entropy at the temperature of the rollouts.',
    of: ({ entropyNats }) => entropyNats,
  },
];

/** Steps that are averaged for a point: curves of single steps are mostly noise. */
const SMOOTHED_STEPS = 5;

/** A figure for each number of the steps, of the first seed of each variant. */
export function curveFigures({ curves }: Distill): Figure[] {
  const first = curves
    .filter(({ variant }, at) => curves.findIndex((other) => other.variant === variant) === at)
    .slice(0, SERIES.length);
  return CURVES.flatMap(({ name, title, label, caption, of }) => {
    const drawn = first.flatMap(({ variant, seed, steps }, index) => {
      const known = steps.flatMap((row) => {
        const y = of(row);
        return y === null ? [] : [{ x: row.step, y }];
      });
      const points = name === 'validation' ? known : smoothed(known);
      return points.length < 2 ? [] : [{ name: variant, seed, style: SERIES[index], points }];
    });
    if (drawn.length === 0) return [];
    const last = drawn.map((curve) => `${curve.name} ends at ${formatNumber(curve.points.at(-1)!.y)}`);
    return [
      {
        ...{ name, title, caption },
        alt: `${title} over steps: ${last.join(', ')}.`,
        draw: (width: number) =>
          drawCurves(drawn, { width, x: { label: 'step' }, y: { label }, hasSymbols: name === 'validation' }),
        table: {
          caption: `${title} at the first and at the last step`,
          columns: [
            { name: 'student' },
            { name: 'seed' },
            { name: 'first', isNumber: true },
            { name: 'last', isNumber: true },
          ],
          rows: drawn.map((curve) => [
            curve.name,
            String(curve.seed),
            formatNumber(curve.points[0].y),
            formatNumber(curve.points.at(-1)!.y),
          ]),
        },
      },
    ];
  });
}

function smoothed(points: readonly { x: number; y: number }[]): { x: number; y: number }[] {
  const size = points.length < 4 * SMOOTHED_STEPS ? 1 : SMOOTHED_STEPS;
  return Array.from({ length: Math.floor(points.length / size) }, (_, index) => {
    const part = points.slice(index * size, (index + 1) * size);
    const mean = (of: 'x' | 'y') => part.reduce((sum, point) => sum + point[of], 0) / part.length;
    return { x: mean('x'), y: mean('y') };
  });
}
