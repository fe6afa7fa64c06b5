/** Curves of numbers over numbers, with bands: training length, step size of differences, anything over steps. */
import * as Plot from '@observablehq/plot';
import { alongCurve, overlap } from './labels.js';
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
import { draw, textWidth } from './svg.js';
import { color, type SeriesStyle } from './theme.js';

interface CurvePoint {
  readonly x: number;
  readonly y: number;
  /** Ends of an interval of y. */
  readonly lower?: number;
  readonly upper?: number;
}

export interface Curve {
  readonly name: string;
  readonly style: SeriesStyle;
  readonly points: readonly CurvePoint[];
}

interface CurveAxis {
  readonly label: string;
  readonly isLogarithmic?: boolean;
  readonly domain?: readonly [number, number];
  readonly ticks?: readonly number[];
  readonly format?: (value: number) => string;
}

export interface CurveOptions {
  readonly width: number;
  readonly x: CurveAxis;
  readonly y: CurveAxis;
  /** Horizontal lines to compare with. */
  readonly references?: readonly { readonly name: string; readonly y: number }[];
  /** A point worth pointing out, with a word about it. */
  readonly highlight?: { readonly x: number; readonly y: number; readonly text: string };
  /** Whether each point has its symbol: not for curves of many steps. */
  readonly hasSymbols?: boolean;
}

/** Curves in one frame, told apart by colour and by the symbols of the legend. */
export function drawCurves(curves: readonly Curve[], options: CurveOptions): string {
  const { width, x, y, references = [], highlight, hasSymbols = true } = options;
  const entries = curves.length > 1 ? curves : [];
  const top = legendHeight(entries, width) + 34;
  return draw({
    ...{ width, height: top + (width < 500 ? 240 : 300) },
    ...{
      marginTop: top,
      marginLeft: 50,
      marginRight: 20,
      marginBottom: 50,
      insetLeft: 10,
      insetRight: 10,
      insetBottom: highlight ? 38 : y.isLogarithmic ? 14 : 0,
    },
    x: scaleOf(x),
    y: scaleOf(y),
    r: { type: 'identity' },
    marks: [
      ...legend(entries, width),
      ...bottomAxis(axisOf(x)),
      ...leftAxis(axisOf(y)),
      markup((canvas) => references.map((reference) => referenceLine(reference, { canvas, curves })).join('')),
      ...curves.flatMap(({ style, points }) => {
        const stroke = color(style.token);
        const banded = points.filter(({ lower, upper }) => lower !== undefined && upper !== undefined);
        return [
          Plot.areaY(banded, {
            x: (point) => point.x,
            y1: ({ lower }) => lower,
            y2: ({ upper }) => upper,
            fill: stroke,
            fillOpacity: 0.15,
          }),
          Plot.line([...points], { x: (point) => point.x, y: (point) => point.y, stroke, strokeWidth: 1.8 }),
          ...(hasSymbols
            ? [
                Plot.ruleX(banded, {
                  x: (point) => point.x,
                  y1: ({ lower }) => lower,
                  y2: ({ upper }) => upper,
                  stroke,
                  strokeWidth: 1.3,
                }),
                symbols(points, { style, x: (point) => point.x, y: (point) => point.y }),
              ]
            : []),
        ];
      }),
      ...(highlight
        ? [
            markup((canvas) => {
              const [across, down] = [canvas.x(highlight.x), canvas.y(highlight.y)];
              const ring = `<circle cx="${round(across)}" cy="${round(down)}" r="10" fill="none" stroke="${color('ink')}" stroke-width="1.2"/>`;
              return (
                ring + textAt(highlight.text, { x: across, y: down + 21, fill: 'ink', anchor: 'middle', hasHalo: true })
              );
            }),
          ]
        : []),
    ],
  });
}

/** A horizontal line with its name where no curve runs through it, as far as there is such a place. */
function referenceLine(
  { name, y }: { name: string; y: number },
  { canvas, curves }: { canvas: Canvas; curves: readonly Curve[] },
): string {
  const at = canvas.y(y);
  const taken = curves.flatMap(({ points }) =>
    alongCurve(points.map((point) => [canvas.x(point.x), canvas.y(point.y)])),
  );
  const width = textWidth(name, FONT_SIZE);
  const places = [canvas.right - 6 - width, canvas.left + 6, (canvas.left + canvas.right - width) / 2].flatMap((x) =>
    [-10, 10, -22, 22].map((shift) => ({ x, y: at + shift })),
  );
  const isFree = (place: { x: number; y: number }) => {
    const box = { left: place.x, right: place.x + width, top: place.y - 7, bottom: place.y + 7 };
    return box.bottom < canvas.bottom - 2 && !taken.some((other) => overlap(box, other));
  };
  const place = places.find(isFree) ?? places[0];
  const line = lineAt([canvas.left, at], [canvas.right, at], { stroke: 'muted', width: 1.3, dash: '5 4' });
  return line + textAt(name, { ...place, fill: 'muted', hasHalo: true });
}

const scaleOf = ({ isLogarithmic = false, domain }: CurveAxis) => ({
  type: isLogarithmic ? ('log' as const) : ('linear' as const),
  label: null,
  ...(domain && { domain: [...domain] }),
});

const axisOf = ({ label, ticks, format }: CurveAxis) => ({ label, ...(ticks && { ticks }), ...(format && { format }) });
