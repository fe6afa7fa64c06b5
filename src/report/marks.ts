/** Marks that the figures share, in the look of the page. */
import * as Plot from '@observablehq/plot';
import { formatNumber } from './format.js';
import { escapeMarkup } from './html.js';
import { type Marks, textWidth } from './svg.js';
import { color, type SeriesStyle, type Token } from './theme.js';

export const FONT_SIZE = 12;

export interface AxisOptions {
  readonly label: string;
  readonly ticks?: readonly number[];
  readonly format?: (value: number) => string;
}

const axisText = { fontSize: FONT_SIZE, fill: color('muted'), tickSize: 0, tickPadding: 8 } as const;

/** Plot tells a format the place of a tick too, which is no number of digits. */
const alone = (format: (value: number) => string) => (value: number) => format(value);

/** The axis at the foot of a figure, with a grid: needs 44 pixels of margin. */
export function bottomAxis({ label, ticks, format = formatNumber }: AxisOptions): Marks {
  const places = ticks ? { ticks: [...ticks] } : {};
  return [
    Plot.gridX({ ...places, stroke: color('grid'), strokeOpacity: 1 }),
    Plot.axisX({
      ...{ ...places, tickFormat: alone(format), ...axisText },
      ...{ label, labelAnchor: 'center', labelArrow: 'none', labelOffset: 38 },
    }),
  ];
}

/** The axis at the left, with a grid; its label stands above it, where it can be read without turning one's head. */
export function leftAxis({ label, ticks, format = formatNumber }: AxisOptions): Marks {
  const places = ticks ? { ticks: [...ticks] } : {};
  return [
    Plot.gridY({ ...places, stroke: color('grid'), strokeOpacity: 1 }),
    Plot.axisY({ ...places, tickFormat: alone(format), ...axisText, label: null }),
    markup(({ left, top }) => textAt(label, { x: Math.max(2, left - 36), y: top - 16, fill: 'muted' })),
  ];
}

/** What a drawing of one's own may need: pixels of values, and the edges of the frame. */
export interface Canvas {
  readonly x: (value: number) => number;
  readonly y: (value: number) => number;
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
  /** Of the whole drawing. */
  readonly width: number;
}

/** A mark of one's own as SVG markup. */
export function markup(paint: (canvas: Canvas) => string): Plot.Markish {
  return (_index, scales, _values, dimensions, context) => {
    const { width, height, marginLeft, marginTop, marginRight, marginBottom } = dimensions;
    const group = context.document.createElementNS('http://www.w3.org/2000/svg', 'g') as unknown as {
      innerHTML: string;
    };
    const pixels = (scale: unknown) => scale as (value: number) => number;
    const edges = {
      left: marginLeft,
      top: marginTop,
      right: width - marginRight,
      bottom: height - marginBottom,
      width,
    };
    // The parser of HTML does not know that <line/> is closed.
    const painted = paint({ x: pixels(scales.x), y: pixels(scales.y), ...edges });
    group.innerHTML = painted.replace(/<(\w+)([^<>]*)\/>/g, '<$1$2></$1>');
    return group as never;
  };
}

export interface TextOptions {
  readonly x: number;
  readonly y: number;
  readonly fill: Token;
  readonly anchor?: 'start' | 'middle' | 'end';
  readonly weight?: number;
  readonly size?: number;
  /** Whether a rim of the page's own colour keeps it readable on top of lines. */
  readonly hasHalo?: boolean;
}

/** Markup of a text whose middle line is at y, in pixels. */
export function textAt(
  text: string,
  { x, y, fill, anchor = 'start', weight, size = FONT_SIZE, hasHalo }: TextOptions,
): string {
  const halo = hasHalo
    ? ` stroke="${color('surface')}" stroke-width="4" stroke-linejoin="round" paint-order="stroke"`
    : '';
  const bold = weight ? ` font-weight="${weight}"` : '';
  return `<text x="${round(x)}" y="${round(y)}" dy="0.32em" font-size="${size}" fill="${color(fill)}" text-anchor="${anchor}"${bold}${halo}>${escapeMarkup(text)}</text>`;
}

/** Markup of a straight line, in pixels. */
export function lineAt(
  [x1, y1]: readonly [number, number],
  [x2, y2]: readonly [number, number],
  { stroke, width = 1, dash }: { stroke: Token; width?: number; dash?: string },
): string {
  const dashes = dash ? ` stroke-dasharray="${dash}"` : '';
  return `<line x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}" stroke="${color(stroke)}" stroke-width="${width}"${dashes}/>`;
}

/** A symbol at each row. */
export function symbols<Row>(
  rows: readonly Row[],
  {
    style,
    x,
    y,
    r = 5.5,
    isHollow = false,
  }: { style: SeriesStyle; x: (row: Row) => number; y: (row: Row) => number; r?: number; isHollow?: boolean },
): Plot.Markish {
  const look = isHollow
    ? { fill: color('surface'), stroke: color(style.token), strokeWidth: 1.6 }
    : { fill: color(style.token), stroke: color('surface'), strokeWidth: 1.2 };
  return Plot.dot([...rows], { x, y, r, symbol: style.symbol, ...look });
}

export interface LegendEntry {
  readonly name: string;
  readonly style: SeriesStyle;
}

const LEGEND_ROW = 21;
const SYMBOL_WIDTH = 18;

/** How high a legend is at a width, in pixels. */
export const legendHeight = (entries: readonly LegendEntry[], width: number): number =>
  LEGEND_ROW * (1 + Math.max(-1, ...layoutLegend(entries, width).map(({ row }) => row)));

/** Symbols and names in rows across the top of a figure, in its own margin. */
export function legend(entries: readonly LegendEntry[], width: number): Marks {
  return layoutLegend(entries, width).flatMap(({ name, style, x, row }) => {
    const y = row * LEGEND_ROW + LEGEND_ROW / 2;
    const place = { x: { value: () => x + 7, scale: null }, y: { value: () => y, scale: null } };
    return [
      Plot.dot([0], { ...place, r: 5, symbol: style.symbol, fill: color(style.token) }),
      markup(() => textAt(name, { x: x + SYMBOL_WIDTH, y, fill: 'ink' })),
    ];
  });
}

function layoutLegend(entries: readonly LegendEntry[], width: number) {
  let x = 0;
  let row = 0;
  return entries.map((entry) => {
    const needed = SYMBOL_WIDTH + textWidth(entry.name, FONT_SIZE);
    if (x > 0 && x + needed > width) {
      x = 0;
      row += 1;
    }
    const placed = { ...entry, x, row };
    x += needed + 16;
    return placed;
  });
}

export const round = (pixels: number): number => Number(pixels.toFixed(2));
