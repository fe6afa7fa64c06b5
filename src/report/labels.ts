/** Where the names of points go, so that they cover neither each other nor a point. */
import { textWidth } from './svg.js';

export interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

export interface LabelRequest {
  readonly text: string;
  /** Of the point, in pixels. */
  readonly x: number;
  readonly y: number;
}

interface Placement {
  readonly box: Box;
  /** Of the text's left end and middle. */
  readonly textX: number;
  readonly textY: number;
  /** Whether the text lies so far off that a line must lead to it. */
  readonly isApart: boolean;
}

/** Distance from point to text, in pixels, and directions in the order in which they are liked: right, left, then around. */
const DISTANCES = [9, 20, 34, 50, 70];
const DIRECTIONS = [0, 180, -35, 35, 215, 145, -90, 90].map((degrees) => (degrees * Math.PI) / 180);

/**
 * Places labels greedily, in the order given, each where it covers neither a label placed before, nor anything of `taken`, nor
 * leaves `bounds`; where all places are covered, it is left out (tables have every name).
 */
export function placeLabels<Request extends LabelRequest>(
  requests: readonly Request[],
  { bounds, taken, fontSize }: { bounds: Box; taken: readonly Box[]; fontSize: number },
): (Request & Placement)[] {
  const placed: (Request & Placement)[] = [];
  for (const request of requests) {
    const width = textWidth(request.text, fontSize);
    const found = candidates(request, { width, height: fontSize * 1.25 }).find(
      ({ box }) =>
        contains(bounds, box) &&
        !taken.some((other) => overlap(box, other)) &&
        !placed.some((other) => overlap(box, widened(other.box))),
    );
    if (found) placed.push({ ...request, ...found });
  }
  return placed;
}

export const overlap = (a: Box, b: Box): boolean =>
  a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

/** Names beside one another need the room of a space, or they read as one. */
const widened = (box: Box): Box => ({ ...box, left: box.left - 6, right: box.right + 6 });

/** The square around a mark. */
export const boxAround = (x: number, y: number, radius: number): Box => ({
  ...{ left: x - radius, right: x + radius, top: y - radius, bottom: y + radius },
});

/** A line through places as a row of small boxes, so that no name lies on it. */
export function alongCurve(places: readonly (readonly [x: number, y: number])[], radius = 2): Box[] {
  return places.slice(1).flatMap(([x, y], index) => {
    const [fromX, fromY] = places[index];
    const steps = Math.ceil(Math.hypot(x - fromX, y - fromY) / (3 * radius));
    return Array.from({ length: steps + 1 }, (_, step) =>
      boxAround(fromX + ((x - fromX) * step) / steps, fromY + ((y - fromY) * step) / steps, radius),
    );
  });
}

function candidates(request: LabelRequest, { width, height }: { width: number; height: number }): Placement[] {
  return DISTANCES.flatMap((distance) =>
    DIRECTIONS.map((angle) => {
      const [across, down] = [Math.cos(angle), Math.sin(angle)];
      const middle = request.x + across * (distance + (width / 2) * Math.abs(across));
      const textY = request.y + down * (distance + (height / 2) * Math.abs(down));
      const textX = middle - width / 2;
      const box = { left: textX, right: textX + width, top: textY - height / 2, bottom: textY + height / 2 };
      return { textX, textY, box, isApart: distance > DISTANCES[0] };
    }),
  );
}

const contains = (outer: Box, inner: Box): boolean =>
  inner.left >= outer.left && inner.right <= outer.right && inner.top >= outer.top && inner.bottom <= outer.bottom;
