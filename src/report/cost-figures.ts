/** Figures of what things cost and how exact they are. */
import type { Details, Tradeoff } from '../experiment/records.js';
import { drawBars } from './bar-figure.js';
import { drawCurves } from './curve-figure.js';
import type { Figure } from './figure.js';
import { formatCount, formatDuration, formatNumber, percent } from './format.js';
import { ARM_NAMES, ARMS } from './settings.js';
import { ARM_STYLES, SERIES } from './theme.js';
import { spaced } from './words.js';

/** Error of central differences over the length of their step. */
export function epsilonFigure({ errorStudy }: Pick<Tradeoff, 'errorStudy'>): Figure | undefined {
  const study = errorStudy
    .filter(({ epsilon, error }) => epsilon > 0 && error > 0)
    .sort((a, b) => a.epsilon - b.epsilon);
  if (study.length < 2) return undefined;
  const best = study.reduce((least, entry) => (entry.error < least.error ? entry : least));
  return {
    name: 'epsilon',
    title: 'The step of the differences',
    alt: `Error of central differences over ε, both logarithmic. It is least, ${formatNumber(best.error, 2)}, at ε = ${formatNumber(best.epsilon, 2)} and grows to both sides.`,
    caption:
      'Error √(1 − cos²) of the angle between Δ by central differences and the exact derivative, of the first proxy. Below the best step rounding ' +
      'rules (the error grows as 1/ε), above it curvature (as ε²).',
    draw: (width) =>
      drawCurves(
        [
          {
            name: 'central differences',
            style: SERIES[1],
            points: study.map(({ epsilon, error }) => ({ x: epsilon, y: error })),
          },
        ],
        {
          width,
          x: {
            label: 'ε',
            isLogarithmic: true,
            format: powerOfTen,
            ticks: decades(study.map(({ epsilon }) => epsilon)),
          },
          y: {
            label: 'error',
            isLogarithmic: true,
            format: powerOfTen,
            ticks: decades(study.map(({ error }) => error)),
          },
          highlight: { x: best.epsilon, y: best.error, text: `least: ${formatNumber(best.error, 2)}` },
        },
      ),
    table: {
      caption: 'Error of central differences by ε',
      columns: [{ name: 'ε' }, { name: 'error', isNumber: true }],
      rows: study.map(({ epsilon, error }) => [formatNumber(epsilon), formatNumber(error)]),
    },
  };
}

/** What a token costs under each sampler. */
export function tokenCostFigure({ cost }: Pick<Tradeoff, 'cost'>): Figure | undefined {
  if (cost.length === 0) return undefined;
  const sorted = [...cost].sort((a, b) => ARMS.indexOf(a.arm) - ARMS.indexOf(b.arm));
  const times = (relative: number) => `${formatNumber(relative)} ×`;
  return {
    name: 'token-cost',
    title: 'What a token costs',
    alt: `Time a token relative to plain sampling: ${sorted.map(({ arm, relativeToPlain }) => `${ARM_NAMES[arm]} ${formatNumber(relativeToPlain)}`).join(', ')}.`,
    caption:
      'Time a sampled token takes the teacher’s owner, relative to plain sampling, measured side by side in this run.',
    draw: (width) =>
      drawBars(
        sorted.map(({ arm, relativeToPlain, tokensPerSecond }) => ({
          name: ARM_NAMES[arm],
          parts: [{ value: relativeToPlain, style: ARM_STYLES[arm] }],
          text: `${times(relativeToPlain)}, ${formatCount(tokensPerSecond)} tokens/s`,
        })),
        { width, axisLabel: 'time a token (plain sampling = 1)', format: formatNumber },
      ),
    table: {
      caption: 'Cost of a token by sampler',
      columns: [
        { name: 'sampler' },
        { name: 'tokens a second', isNumber: true },
        { name: 'time a token', isNumber: true },
      ],
      rows: sorted.map(({ arm, tokensPerSecond, relativeToPlain }) => [
        ARM_NAMES[arm],
        formatCount(tokensPerSecond),
        times(relativeToPlain),
      ]),
    },
  };
}

/** Where the time of the run went. */
export function stageFigure({ stages }: Pick<Details, 'stages'>): Figure | undefined {
  if (stages.length === 0) return undefined;
  const sum = (part: 'wallMs' | 'engineMs') => stages.reduce((total, stage) => total + stage[part], 0);
  const [engine, rest] = [
    { ...SERIES[0], symbol: 'square' as const },
    { ...SERIES[4], symbol: 'square' as const },
  ];
  const share = sum('wallMs') > 0 ? sum('engineMs') / sum('wallMs') : 0;
  const axisMinutes = Math.max(...stages.map(({ wallMs }) => wallMs)) >= 180_000;
  return {
    name: 'stages',
    title: 'Where the time went',
    alt: `Time by stage: ${stages.map(({ kind, wallMs }) => `${spaced(kind)} ${formatDuration(wallMs)}`).join(', ')}. ${percent(share)} of it inside the engine.`,
    caption: `Time of all stages, added over processes: ${formatDuration(sum('wallMs'))}, ${percent(share)} of it inside the engine.`,
    draw: (width) =>
      drawBars(
        stages.map(({ kind, count, wallMs, engineMs }) => ({
          name: `${spaced(kind)} (${formatCount(count)})`,
          parts: [
            { value: engineMs / (axisMinutes ? 60_000 : 1000), style: engine },
            { value: Math.max(0, wallMs - engineMs) / (axisMinutes ? 60_000 : 1000), style: rest },
          ],
          text: formatDuration(wallMs),
        })),
        {
          ...{ width, format: formatNumber, axisLabel: `time (${axisMinutes ? 'minutes' : 'seconds'})` },
          legend: [
            { name: 'engine', style: engine },
            { name: 'everything else', style: rest },
          ],
        },
      ),
    table: {
      caption: 'Time by stage',
      columns: [
        { name: 'stage' },
        { name: 'times', isNumber: true },
        { name: 'time', isNumber: true },
        { name: 'engine', isNumber: true },
      ],
      rows: stages.map(({ kind, count, wallMs, engineMs }) => [
        spaced(kind),
        formatCount(count),
        formatDuration(wallMs),
        wallMs > 0 ? percent(engineMs / wallMs) : null,
      ]),
    },
  };
}

/** Whole powers of ten inside the range, and those just outside where fewer than two lie in it. */
function decades(values: readonly number[]): number[] {
  const [low, high] = [Math.log10(Math.min(...values)), Math.log10(Math.max(...values))];
  const inside = Array.from({ length: 40 }, (_, index) => index - 20).filter(
    (power) => power >= low - 1e-9 && power <= high + 1e-9,
  );
  return (inside.length < 2 ? [Math.floor(low), Math.ceil(high)] : inside).map((power) => 10 ** power);
}

const SUPERSCRIPTS = '⁰¹²³⁴⁵⁶⁷⁸⁹';

/** 1e-4 → 10⁻⁴. */
function powerOfTen(value: number): string {
  const power = Math.round(Math.log10(value));
  return `10${power < 0 ? '⁻' : ''}${[...String(Math.abs(power))].map((digit) => SUPERSCRIPTS[Number(digit)]).join('')}`;
}
