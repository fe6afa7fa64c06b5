/** Curves of numbers over numbers, with bands: training length, step size of differences, anything over steps. */
import * as Plot from '@observablehq/plot';
import {
  bottomAxis,
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
import { draw } from './svg.js';
import { color, type SeriesStyle } from './theme.js';

export interface CurvePoint {
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

export interface CurveAxis {
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
    ...{ marginTop: top, marginLeft: 50, marginRight: 20, marginBottom: 50 },
    x: scaleOf(x),
    y: scaleOf(y),
    r: { type: 'identity' },
    marks: [
      ...legend(entries, width),
      ...bottomAxis(axisOf(x)),
      ...leftAxis(axisOf(y)),
      markup((canvas) =>
        references
          .map(
            ({ name, y: value }) =>
              lineAt([canvas.left, canvas.y(value)], [canvas.right, canvas.y(value)], {
                stroke: 'muted',
                width: 1.3,
                dash: '5 4',
              }) +
              textAt(name, {
                x: canvas.right - 4,
                y: canvas.y(value) - 9,
                fill: 'muted',
                anchor: 'end',
                hasHalo: true,
              }),
          )
          .join(''),
      ),
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
              const isRight = across > (canvas.left + canvas.right) / 2;
              const ring = `<circle cx="${round(across)}" cy="${round(down)}" r="10" fill="none" stroke="${color('ink')}" stroke-width="1.2"/>`;
              return (
                ring +
                textAt(highlight.text, {
                  x: across + (isRight ? -16 : 16),
                  y: down - FONT_SIZE * 1.6,
                  fill: 'ink',
                  anchor: isRight ? 'end' : 'start',
                  hasHalo: true,
                })
              );
            }),
          ]
        : []),
    ],
  });
}

const scaleOf = ({ isLogarithmic = false, domain }: CurveAxis) => ({
  type: isLogarithmic ? ('log' as const) : ('linear' as const),
  label: null,
  ...(domain && { domain: [...domain] }),
});

const axisOf = ({ label, ticks, format }: CurveAxis) => ({ label, ...(ticks && { ticks }), ...(format && { format }) });
