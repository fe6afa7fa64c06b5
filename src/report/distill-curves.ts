/** How students came to what they are: numbers of their steps as figures. */

import type { DistillRecords } from '../experiment/distill/record-book.js';
import type { StudentDetails } from '../experiment/distill/records.js';
import { drawCurves } from './curve-figure.js';
import type { Figure } from './figure.js';
import { formatNumber } from './format.js';
import { SERIES } from './theme.js';

type StepNumber = (row: StudentDetails['steps'][number]) => number | null;

/** Drawn of the scores of all students, adversarial or not. */
const VALIDATION = 'validation';

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
    ...{ name: VALIDATION, title: 'Validation score', label: 'right answers' },
    caption:
      'Accuracy on the validation split. The student with the highest is kept, the earliest of equals; no other split has a say.',
    of: () => null,
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
  {
    ...{ name: 'rouge', title: 'ROUGE-L to the teacher', label: 'F-measure' },
    caption:
      'Longest common subsequence of tokens of the student’s responses and the teacher’s to the same prompts: how much is copied, not how much is right.',
    of: ({ rougeL }) => rougeL,
  },
];

/** Steps that are averaged for a point: curves of single steps are mostly noise. */
const SMOOTHED_STEPS = 5;

/** A figure for each number of the steps, of the first seed of each variant, one in training included. */
export function curveFigures({ details: { students } }: DistillRecords): Figure[] {
  const first = students
    .filter(({ variant }, at) => students.findIndex((other) => other.variant === variant) === at)
    .filter(({ steps, validations }) => steps.length > 0 || validations.length > 0)
    .slice(0, SERIES.length);
  return CURVES.flatMap(({ name, title, label, caption, of }) => {
    const drawn = first.flatMap(({ variant, seed, steps, validations }, index) => {
      const known = steps.flatMap((row) => {
        const y = of(row) ?? null;
        return y === null ? [] : [{ x: row.step, y }];
      });
      const scores = validations.map(({ step, correct, total }) => ({ x: step, y: correct / total }));
      const points = name === VALIDATION ? scores : smoothed(known);
      return points.length < 2 ? [] : [{ name: variant, seed, style: SERIES[index], points }];
    });
    if (drawn.length === 0) return [];
    const last = drawn.map((curve) => `${curve.name} ends at ${formatNumber(curve.points.at(-1)!.y)}`);
    return [
      {
        ...{ name, title, caption },
        alt: `${title} over steps: ${last.join(', ')}.`,
        draw: (width: number) =>
          drawCurves(drawn, { width, x: { label: 'step' }, y: { label }, hasSymbols: name === VALIDATION }),
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
