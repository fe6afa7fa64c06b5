/** What a teacher gives up against what its student loses: the figure that the whole run is for. */
import * as Plot from '@observablehq/plot';
import type { Arm } from '../experiment/records.js';
import { bandPath, type Place } from './band.js';
import type { Findings } from './findings.js';
import { formatNumber, percent } from './format.js';
import { alongCurve, type Box, boxAround, placeLabels } from './labels.js';
import {
  bottomAxis,
  type Canvas,
  FONT_SIZE,
  leftAxis,
  legend,
  legendHeight,
  lineAt,
  markup,
  round,
  symbols,
  textAt,
} from './marks.js';
import { ARM_NAMES, ARMS, type Estimate, isOrdinary, type Setting } from './settings.js';
import { draw, type Marks } from './svg.js';
import { ARM_STYLES, color } from './theme.js';

/** Settings of these arms are one knob turned further: their points are joined. */
const CURVES: readonly Arm[] = ['temperature', 'maskedTemperature', 'antidistillation', 'permutation'];

/** Student accuracy against teacher accuracy, ordinary students only; undefined where there is none yet. */
export function drawTradeoff({ settings, undistilled, defended }: Findings, width: number): string | undefined {
  const shown = settings.filter(isOrdinary);
  if (shown.length === 0) return undefined;
  const arms = ARMS.filter((arm) => shown.some((setting) => setting.arm === arm));
  const entries = arms.map((arm) => ({ name: ARM_NAMES[arm], style: ARM_STYLES[arm] }));
  const top = legendHeight(entries, width) + 34;
  const x = { domain: teacherDomain(shown), label: null };
  return draw({
    ...{ width, height: (width < 500 ? 380 : 430) + top },
    ...{ marginTop: top, marginLeft: 42, marginRight: width < 500 ? 62 : 118, insetRight: 10, marginBottom: 50 },
    x,
    y: { domain: [0, topOf(shown.map(({ student }) => student))], label: null },
    r: { type: 'identity' },
    marks: [
      ...bottomAxis({
        label: 'teacher accuracy (%)',
        format: tick,
        ...(width < 500 && { ticks: fewTicks(x.domain) }),
      }),
      ...leftAxis({ label: 'student accuracy (%)', format: tick }),
      ...legend(entries, width),
      ...(undistilled ? untaught(undistilled) : []),
      ...paintOrder(arms).flatMap((arm) =>
        series(
          arm,
          shown.filter((setting) => setting.arm === arm),
        ),
      ),
      markup((canvas) => names(shown, { canvas, defended, undistilled })),
    ],
  });
}

function series(arm: Arm, settings: readonly Setting[]): Marks {
  const style = ARM_STYLES[arm];
  const stroke = color(style.token);
  const isCurve = CURVES.includes(arm);
  const points = settings.flatMap((setting) => setting.points);
  const whisker = { stroke, strokeWidth: 1.3, strokeOpacity: 0.9 };
  const at = { x: ({ teacher }: Setting) => teacher.rate, y: ({ student }: Setting) => student.rate };
  return [
    ...(isCurve
      ? [
          markup(({ x, y }) => {
            const places = settings.map(({ teacher, student, draws }) => ({
              ...{ x: teacher.rate, y: student.rate, xDraws: draws.teacher, yDraws: draws.student },
            }));
            const toPixels = ([across, up]: Place): Place => [x(across), y(up)];
            return `<path d="${bandPath(places, toPixels)}" fill="${stroke}" fill-opacity="0.16"/>`;
          }),
          Plot.line([...settings], { ...at, stroke, strokeWidth: 1.8 }),
        ]
      : []),
    Plot.dot(points, {
      ...{ x: ({ teacher }) => teacher.correct / teacher.total, y: ({ student }) => student.correct / student.total },
      ...{ r: 2, fill: stroke, fillOpacity: 0.45 },
    }),
    Plot.ruleY([...settings], {
      ...whisker,
      y: at.y,
      x1: ({ teacher }) => teacher.wilson.lower,
      x2: ({ teacher }) => teacher.wilson.upper,
    }),
    Plot.ruleX([...settings], {
      ...whisker,
      x: at.x,
      y1: ({ student }) => student.wilson.lower,
      y2: ({ student }) => student.wilson.upper,
    }),
    symbols(settings, { style, ...at, r: 6 }),
  ];
}

/** What the run is about lies on top. */
const paintOrder = (arms: readonly Arm[]): Arm[] =>
  [...arms].sort((a, b) => Number(a === 'antidistillation') - Number(b === 'antidistillation'));

/** The line of students that saw no trace, with its interval. */
function untaught({ rate, interval }: NonNullable<Findings['undistilled']>): Marks {
  return [
    markup(({ y, left, right }) => {
      const [above, below] = [y(interval.upper), y(interval.lower)];
      const band = `<rect x="${left}" y="${round(above)}" width="${right - left}" height="${round(below - above)}" fill="${color('muted')}" fill-opacity="0.14"/>`;
      const line = lineAt([left, y(rate)], [right, y(rate)], { stroke: 'muted', width: 1.3, dash: '5 4' });
      const text = textAt(`no trace seen: ${percent(rate)}`, {
        x: left + 6,
        y: above - 9,
        fill: 'muted',
        hasHalo: true,
      });
      return band + line + text;
    }),
  ];
}

/** The names of settings beside their points, the most important first. */
function names(
  settings: readonly Setting[],
  { canvas, defended, undistilled }: { canvas: Canvas } & Pick<Findings, 'defended' | 'undistilled'>,
): string {
  const { x, y, left, right, top, bottom } = canvas;
  const pixels = settings.map((setting) => ({ setting, x: x(setting.teacher.rate), y: y(setting.student.rate) }));
  const importance = ({ setting }: (typeof pixels)[number]) =>
    setting === defended ? -1 : ['antidistillation', 'maskedTemperature', 'temperature'].indexOf(setting.arm) + 1 || 9;
  const untaughtLine = undistilled ? alongCurve([left, right].map((end) => [end, y(undistilled.rate)])) : [];
  const untaughtTop = undistilled ? y(undistilled.interval.upper) - 18 : bottom - 70;
  const untaughtText: Box = { left, right: left + 140, top: untaughtTop, bottom };
  const placed = placeLabels(
    pixels
      .sort((a, b) => importance(a) - importance(b))
      .map((pixel) => ({ ...pixel, text: nameAt(pixel.setting, canvas.width) })),
    {
      bounds: { left, top: top - 6, right: canvas.width, bottom },
      taken: [
        ...pixels.map((pixel) => boxAround(pixel.x, pixel.y, 7)),
        ...linesOf(pixels, canvas),
        ...untaughtLine,
        untaughtText,
      ],
      fontSize: FONT_SIZE,
    },
  );
  return placed
    .map((label) => {
      const { token } = ARM_STYLES[label.setting.arm];
      const end = Math.min(Math.max(label.x, label.box.left), label.box.right);
      const lead = label.isApart ? lineAt([label.x, label.y], [end, label.textY], { stroke: token, width: 0.8 }) : '';
      return lead + textAt(label.text, { x: label.textX, y: label.textY, fill: token, hasHalo: true });
    })
    .join('');
}

/** Where there is room, a budget is told with the λ it came to. */
const nameAt = ({ arm, label, lambda }: Setting, width: number): string =>
  width < 500 || arm !== 'antidistillation' || lambda === null || label.includes('λ')
    ? label
    : `${label}, λ ${formatNumber(lambda, 2)}`;

/** Curves and intervals, which no name should cover. */
function linesOf(pixels: readonly { setting: Setting; x: number; y: number }[], { x, y }: Canvas): Box[] {
  const curves = CURVES.flatMap((arm) => {
    const curve = pixels.filter(({ setting }) => setting.arm === arm);
    return alongCurve(curve.sort((a, b) => a.setting.strength - b.setting.strength).map((pixel) => [pixel.x, pixel.y]));
  });
  const whiskers = pixels.flatMap((pixel) => {
    const { teacher, student } = pixel.setting;
    return [
      ...alongCurve([teacher.wilson.lower, teacher.wilson.upper].map((rate) => [x(rate), pixel.y])),
      ...alongCurve([student.wilson.lower, student.wilson.upper].map((rate) => [pixel.x, y(rate)])),
    ];
  });
  return [...curves, ...whiskers];
}

/** From a round number below the worst teacher to the top. */
function teacherDomain(settings: readonly Setting[]): [number, number] {
  const lowest = Math.min(...settings.map(({ teacher }) => teacher.wilson.lower), 0.9);
  return [Math.max(0, Math.floor(lowest * 20 - 0.3) / 20), topOf(settings.map(({ teacher }) => teacher))];
}

/** All right; where every one is far from that, a round number above the best. */
function topOf(estimates: readonly Estimate[]): number {
  const highest = Math.max(...estimates.flatMap(({ wilson, interval }) => [wilson.upper, interval.upper]));
  return highest > 0.6 ? 1 : Math.ceil(highest * 10 + 0.5) / 10;
}

const tick = (rate: number): string => formatNumber(100 * rate);

function fewTicks([low, high]: readonly [number, number]): number[] {
  const step = [0.05, 0.1, 0.2, 0.25].find((size) => (high - low) / size <= 5) ?? 0.5;
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, index) => (first + index) * step);
}
