/** The region in which a curve of settings lies, where both of a setting's coordinates are uncertain. */
import { percentileInterval } from '../evaluation/bootstrap.js';
import { round } from './marks.js';

export type Place = readonly [x: number, y: number];

/** A setting's bootstrap draws of both coordinates, and its own place. */
export interface UncertainPlace {
  readonly x: number;
  readonly y: number;
  readonly xDraws: Float64Array;
  readonly yDraws: Float64Array;
}

const NUM_CORNERS = 32;

/**
 * A path of the band around a curve through settings: of each two neighbours the convex hull of the ellipses that span their 95 %
 * bootstrap intervals in x and y. Unlike a band of y at each x it also serves a curve that runs straight up.
 */
export function bandPath(settings: readonly UncertainPlace[], toPixels: (place: Place) => Place): string {
  const ellipses = settings.map((setting) => ellipseOf(setting).map(toPixels));
  const parts =
    ellipses.length === 1 ? [ellipses[0]] : ellipses.slice(1).map((ellipse, index) => [...ellipses[index], ...ellipse]);
  // All hulls turn the same way, so that where two overlap the filled path is their union.
  return parts
    .map(
      (part) =>
        `M${convexHull(part)
          .map(([x, y]) => `${round(x)},${round(y)}`)
          .join('L')}Z`,
    )
    .join('');
}

/** An ellipse with its own half axis on each side: the observed rate need not be the middle of its interval. */
function ellipseOf({ x, y, xDraws, yDraws }: UncertainPlace): Place[] {
  const across = percentileInterval(xDraws);
  const along = percentileInterval(yDraws);
  return Array.from({ length: NUM_CORNERS }, (_, index) => {
    const angle = (2 * Math.PI * index) / NUM_CORNERS;
    const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
    const halfX = cosine > 0 ? across.upper - x : x - across.lower;
    const halfY = sine > 0 ? along.upper - y : y - along.lower;
    return [x + cosine * Math.max(0, halfX), y + sine * Math.max(0, halfY)];
  });
}

/**
 * The corners of the convex hull, in one sense of turning whatever the order of the points.
 * @see Andrew, "Another efficient algorithm for convex hulls in two dimensions", 1979
 */
export function convexHull(points: readonly Place[]): Place[] {
  const sorted = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const half = (ordered: readonly Place[]): Place[] => {
    const chain: Place[] = [];
    for (const point of ordered) {
      while (chain.length > 1 && turn(chain.at(-2)!, chain.at(-1)!, point) <= 0) chain.pop();
      chain.push(point);
    }
    return chain.slice(0, -1);
  };
  return sorted.length < 3 ? sorted : [...half(sorted), ...half([...sorted].reverse())];
}

const turn = (a: Place, b: Place, c: Place): number => (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
