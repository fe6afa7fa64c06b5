/** Amounts one below the other as bars, some of them in two parts. */
import { bottomAxis, FONT_SIZE, type LegendEntry, legend, legendHeight, markup, round, textAt } from './marks.js';
import { draw, textWidth } from './svg.js';
import { color, type SeriesStyle } from './theme.js';

export interface Bar {
  readonly name: string;
  /** From the left: each a length along the axis. */
  readonly parts: readonly { readonly value: number; readonly style: SeriesStyle; readonly isPale?: boolean }[];
  /** Told behind the bar. */
  readonly text: string;
}

export interface BarOptions {
  readonly width: number;
  readonly axisLabel: string;
  readonly legend?: readonly LegendEntry[];
  readonly format: (value: number) => string;
}

const ROW = 32;
const NARROW_ROW = 44;
const THICKNESS = 16;

/** Bars from top to bottom in the order given, from 0 to the right. */
export function drawBars(bars: readonly Bar[], { width, axisLabel, format, ...options }: BarOptions): string {
  const isNarrow = width < 500;
  const rowHeight = isNarrow ? NARROW_ROW : ROW;
  const entries = options.legend ?? [];
  const top = legendHeight(entries, width) + 8;
  const widest = (texts: readonly string[]) => Math.max(...texts.map((text) => textWidth(text, FONT_SIZE)));
  const left = isNarrow ? 6 : widest(bars.map(({ name }) => name)) + 16;
  const longest = Math.max(...bars.map(totalOf), 0) || 1;
  return draw({
    ...{ width, height: top + bars.length * rowHeight + 48 },
    ...{ marginTop: top, marginLeft: left, marginBottom: 48 },
    marginRight: isNarrow ? 16 : widest(bars.map(({ text }) => text)) + 14,
    x: { domain: [0, longest * 1.02], label: null },
    y: { domain: [-0.5, bars.length - 0.5], reverse: true, axis: null },
    marks: [
      ...legend(entries, width),
      ...bottomAxis({ label: axisLabel, format }),
      markup(({ x, y, left: start }) =>
        bars
          .map((bar, index) => {
            const middle = y(index + (isNarrow ? 0.2 : 0));
            const above = y(index - 0.25);
            const name = isNarrow
              ? textAt(bar.name, { x: 0, y: above, fill: 'ink' })
              : textAt(bar.name, { x: start - 12, y: middle, fill: 'ink', anchor: 'end' });
            const text = isNarrow
              ? textAt(bar.text, { x: width - 2, y: above, fill: 'muted', anchor: 'end' })
              : textAt(bar.text, { x: x(totalOf(bar)) + 8, y: middle, fill: 'muted' });
            return name + partsOf(bar, { x, top: middle - THICKNESS / 2 }) + text;
          })
          .join(''),
      ),
    ],
  });
}

function partsOf({ parts }: Bar, { x, top }: { x: (value: number) => number; top: number }): string {
  let from = 0;
  return parts
    .map(({ value, style, isPale }) => {
      const start = x(from);
      from += value;
      const width = Math.max(0, x(from) - start);
      return `<rect x="${round(start)}" y="${round(top)}" width="${round(width)}" height="${THICKNESS}" rx="2" fill="${color(style.token)}" fill-opacity="${isPale ? 0.35 : 1}"/>`;
    })
    .join('');
}

const totalOf = ({ parts }: Bar): number => parts.reduce((sum, { value }) => sum + value, 0);
