/** Named rates one below the other, each with its interval: comparisons that are no curve. */
import * as Plot from '@observablehq/plot';
import type { Interval } from '../evaluation/intervals.js';
import { formatNumber, percent } from './format.js';
import {
  bottomAxis,
  FONT_SIZE,
  type LegendEntry,
  legend,
  legendHeight,
  lineAt,
  markup,
  round,
  symbols,
  textAt,
} from './marks.js';
import { draw, textWidth } from './svg.js';
import { color, type SeriesStyle } from './theme.js';

/** A rate in 0–1 with its 95 % interval. */
interface Rate {
  readonly rate: number;
  readonly interval: Interval;
}

export interface ForestRow {
  readonly name: string;
  readonly style: SeriesStyle;
  readonly value: Rate;
  /** Of each seed. */
  readonly seeds?: readonly number[];
  /** A second rate, drawn hollow: the teacher's. */
  readonly second?: Rate;
  /** Whether a line sets it apart from the row above. */
  readonly isFirstOfGroup?: boolean;
}

export interface ForestOptions {
  readonly width: number;
  readonly axisLabel: string;
  readonly legend?: readonly LegendEntry[];
  /** Vertical lines to compare with. */
  readonly references?: readonly { readonly name: string; readonly rate: number }[];
}

const ROW = 34;
const REFERENCE_ROW = 17;
/** On a narrow page a name stands above its row. */
const NARROW_ROW = 46;

/** Rows from top to bottom in the order given, rates from 0 to 100 % across. */
export function drawForest(
  rows: readonly ForestRow[],
  { width, axisLabel, references = [], ...options }: ForestOptions,
): string {
  const isNarrow = width < 500;
  const rowHeight = isNarrow ? NARROW_ROW : ROW;
  const entries = options.legend ?? [];
  const nameWidth = Math.max(...rows.map(({ name }) => textWidth(name, FONT_SIZE))) + 16;
  const left = isNarrow ? 10 : Math.min(nameWidth, width * 0.4);
  const valueWidth = 112;
  const right = isNarrow ? 14 : valueWidth;
  const placed = placeReferences(references, (rate) => left + rate * (width - left - right));
  const levels = Math.max(0, ...placed.map(({ level }) => level + 1));
  const top = legendHeight(entries, width) + 8 + REFERENCE_ROW * levels;
  const indices = rows.map((_, index) => index);
  // The mark of a row whose name stands above lies in the lower part.
  const down = isNarrow ? 0.18 : 0;
  const middle = (index: number) => index + down;
  return draw({
    ...{ width, height: top + rows.length * rowHeight + 48 },
    ...{ marginTop: top, marginLeft: left, marginRight: right, marginBottom: 48 },
    x: { domain: [0, 1], label: null },
    y: { domain: [-0.5, rows.length - 0.5], reverse: true, axis: null },
    r: { type: 'identity' },
    marks: [
      ...legend(entries, width),
      ...bottomAxis({
        label: axisLabel,
        format: (rate) => formatNumber(100 * rate),
        ticks: isNarrow ? [0, 0.25, 0.5, 0.75, 1] : [0, 0.2, 0.4, 0.6, 0.8, 1],
      }),
      markup(({ x, y, left: start, right, top: above, bottom }) => {
        const separators = indices
          .filter((index) => index > 0 && rows[index].isFirstOfGroup)
          .map((index) =>
            lineAt([isNarrow ? start : 0, y(index - 0.5)], [isNarrow ? right : width, y(index - 0.5)], {
              stroke: 'line',
            }),
          );
        const lines = placed.map(({ rate, text, box, level }) => {
          const rule = lineAt([x(rate), above - 6 - REFERENCE_ROW * level], [x(rate), bottom], {
            stroke: 'muted',
            width: 1.3,
            dash: '5 4',
          });
          return rule + textAt(text, { x: box.left, y: above - 14 - REFERENCE_ROW * level, fill: 'muted' });
        });
        return [...separators, ...lines].join('');
      }),
      ...rows.flatMap(({ style, value, second, seeds = [] }, index) => {
        const stroke = color(style.token);
        const line = (rate: Rate, width_: number) =>
          Plot.ruleY([rate], {
            y: () => middle(index),
            x1: ({ interval }) => interval.lower,
            x2: ({ interval }) => interval.upper,
            stroke,
            strokeWidth: width_,
          });
        const mark = (rate: Rate, isHollow: boolean) =>
          symbols([rate], { style, x: (each) => each.rate, y: () => middle(index), isHollow, r: isHollow ? 4.5 : 6 });
        return [
          Plot.dot([...seeds], {
            x: (rate) => rate,
            y: () => middle(index) + 0.22,
            r: 1.8,
            fill: stroke,
            fillOpacity: 0.5,
          }),
          ...(second ? [line(second, 1.2), mark(second, true)] : []),
          line(value, 2.2),
          mark(value, false),
        ];
      }),
      markup(({ y, left: start, right }) =>
        rows
          .map(({ name, value }, index) => {
            const told = `${percent(value.rate)}`;
            if (!isNarrow) {
              return (
                textAt(name, { x: start - 12, y: y(index), fill: 'ink', anchor: 'end' }) +
                textAt(told, { x: right + 14, y: y(index), fill: 'ink', weight: 600 }) +
                textAt(intervalText(value.interval), {
                  x: width - 2,
                  y: y(index),
                  fill: 'muted',
                  anchor: 'end',
                  size: 11,
                })
              );
            }
            const above = y(index - 0.26);
            return (
              textAt(name, { x: 0, y: above, fill: 'ink', hasHalo: true }) +
              textAt(told, { x: round(width - 2), y: above, fill: 'ink', anchor: 'end', weight: 600, hasHalo: true })
            );
          })
          .join(''),
      ),
    ],
  });
}

/** Names above their lines, in a second row where they would run into each other. */
function placeReferences(references: NonNullable<ForestOptions['references']>, toPixels: (rate: number) => number) {
  const placed: { rate: number; text: string; box: { left: number; right: number }; level: number }[] = [];
  for (const { name, rate } of [...references].sort((a, b) => a.rate - b.rate)) {
    const text = `${name} ${percent(rate)}`;
    const textSize = textWidth(text, FONT_SIZE);
    const shift = rate > 0.7 ? 0.85 : rate < 0.2 ? 0 : 0.5;
    const start = toPixels(rate) - shift * textSize;
    const isTight = placed.some(({ box, level }) => level === 0 && start < box.right + 10);
    placed.push({ rate, text, box: { left: start, right: start + textSize }, level: isTight ? 1 : 0 });
  }
  return placed;
}

const intervalText = ({ lower, upper }: Interval): string =>
  `${formatNumber(100 * lower, 2)}–${formatNumber(100 * upper, 2)}`;
