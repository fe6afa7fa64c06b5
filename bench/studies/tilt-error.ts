/** What an error in Δ does to the distribution that is sampled. All sums in float64. */
import { logSum } from './delta-vectors.js';

/** Ids that may be drawn at each position; undefined: all. */
export type Support = readonly (readonly number[])[] | undefined;

/** Ids at least `minP` times as probable as the likeliest. */
export const supportOf = (logits: readonly Float32Array[], minP: number): readonly (readonly number[])[] =>
  logits.map((row) => {
    const least = row.reduce((most, value) => Math.max(most, value)) + Math.log(minP);
    return Array.from(row.keys()).filter((id) => row[id] >= least);
  });

const chosen = (row: Float32Array, ids: readonly number[] | undefined): Float64Array =>
  ids === undefined ? Float64Array.from(row) : Float64Array.from(ids, (id) => row[id]);

/** √(1 − cos²) of the angle between all numbers of both, as vectors centred at each position: a constant changes no distribution. */
export function sineBetween(a: readonly Float32Array[], b: readonly Float32Array[], support: Support): number {
  let [aa, ab, bb] = [0, 0, 0];
  for (const [position, row] of a.entries()) {
    const [x, y] = [chosen(row, support?.[position]), chosen(b[position], support?.[position])];
    const [meanX, meanY] = [mean(x), mean(y)];
    for (let id = 0; id < x.length; id++) {
      const [dx, dy] = [x[id] - meanX, y[id] - meanY];
      aa += dx * dx;
      ab += dx * dy;
      bb += dy * dy;
    }
  }
  return Math.sqrt(Math.max(0, 1 - (ab * ab) / (aa * bb)));
}

const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** KL(softmax(a + λΔ) ‖ softmax(b + μδ)) in nats. */
function divergence(a: Float64Array, b: Float64Array): number {
  const [sumA, sumB] = [logSum(a), logSum(b)];
  let nats = 0;
  for (let id = 0; id < a.length; id++) {
    const logA = a[id] - sumA;
    nats += Math.exp(logA) * (logA - (b[id] - sumB));
  }
  return nats;
}

export interface Tilted {
  readonly logits: readonly Float32Array[];
  readonly delta: readonly Float32Array[];
}

const tilted = (
  { logits, delta }: Tilted,
  position: number,
  { lambda, support }: { lambda: number; support: Support },
) => {
  const shift = chosen(delta[position], support?.[position]);
  return chosen(logits[position], support?.[position]).map((value, id) => value + lambda * shift[id]);
};

/** Mean over positions of KL(tilted ‖ untilted). */
export function meanTiltNats(what: Tilted, how: { lambda: number; support: Support }): number {
  const nats = what.logits.map((_, at) => divergence(tilted(what, at, how), tilted(what, at, { ...how, lambda: 0 })));
  return nats.reduce((sum, value) => sum + value, 0) / nats.length;
}

const DOUBLINGS = 60;
const HALVINGS = 24;

/** λ at which the mean divergence is `budgetNats`. */
export function strengthFor(what: Tilted, { budgetNats, support }: { budgetNats: number; support: Support }): number {
  const reaches = (lambda: number) => meanTiltNats(what, { lambda, support }) >= budgetNats;
  let high = 1e-6;
  for (let count = 0; count < DOUBLINGS && !reaches(high); count++) high *= 2;
  let low = high / 2;
  for (let count = 0; count < HALVINGS; count++) {
    const middle = (low + high) / 2;
    if (reaches(middle)) high = middle;
    else low = middle;
  }
  return high;
}

/** Mean and largest over positions of KL(true tilt ‖ estimated tilt) at one λ. */
export function errorNats(
  truth: Tilted,
  estimate: Tilted,
  how: { lambda: number; support: Support },
): { mean: number; most: number } {
  const nats = truth.logits.map((_, at) => divergence(tilted(truth, at, how), tilted(estimate, at, how)));
  return { mean: nats.reduce((sum, value) => sum + value, 0) / nats.length, most: Math.max(...nats) };
}
