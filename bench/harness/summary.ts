/** Rounds to numbers: medians and ranges, ratios taken within a round. */
import { median } from '../../src/support/statistics.js';
import type { GroupResult, Metric, Sample } from './types.js';

export interface Summary {
  readonly n: number;
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

/** One quantity in one setting, compared with one peer (or with none). */
export interface ResultRow {
  readonly case: string;
  readonly setting: string;
  readonly threads: number;
  readonly quantity: string;
  readonly unit: string;
  readonly azeotrope: Summary;
  readonly peer?: { readonly who: string } & Summary;
  /** azeotrope / peer of the same round. */
  readonly ratio?: Summary;
  /** Of the rate that products of the same precision reach in the same round. */
  readonly shareOfProducts?: Summary;
  /** Of the rate at which memory can be read, in the same round. */
  readonly shareOfMemory?: Summary;
}

/** Undefined for no values. */
export function summarize(values: readonly number[]): Summary | undefined {
  if (values.length === 0) return undefined;
  return { n: values.length, min: Math.min(...values), median: median(values), max: Math.max(...values) };
}

function numberOf(sample: Sample | undefined, key: string): number | undefined {
  const value = sample?.[key];
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

const defined = (values: readonly (number | undefined)[]): number[] => values.filter((value) => value !== undefined);
const quotient = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined || b === 0 ? undefined : a / b;

/** The limit of products is that of the precision that azeotrope computed in. */
function sharesOf(rounds: GroupResult['rounds'], { shares }: Metric) {
  const share = (key: string | undefined, limitOf: (sample: Sample) => string) => {
    if (key === undefined) return undefined;
    const each = rounds.map(({ azeotrope, limits }) => {
      return azeotrope && quotient(numberOf(azeotrope, key), numberOf(limits, limitOf(azeotrope)));
    });
    return summarize(defined(each));
  };
  return {
    shareOfProducts: share(shares?.products, ({ precision }) => `${precision}Gflops`),
    shareOfMemory: share(shares?.memory, () => 'memoryGigabytesPerSecond'),
  };
}

/** The rows of a group: one for each metric and peer; a metric without a peer's number gets one row alone. */
export function resultRows(caseName: string, result: GroupResult, metrics: readonly Metric[]): ResultRow[] {
  const { group, rounds } = result;
  return metrics.flatMap((metric) => {
    const read = (sample: Sample | undefined, key: string) => {
      const value = numberOf(sample, key);
      return value === undefined ? undefined : value * (metric.scale ?? 1);
    };
    const own = rounds.map((round) => read(round.azeotrope, metric.key));
    const azeotrope = summarize(defined(own));
    if (azeotrope === undefined) return [];
    const { shareOfProducts, shareOfMemory } = sharesOf(rounds, metric);
    const row: ResultRow = {
      case: caseName,
      setting: group.setting,
      threads: group.threads,
      quantity: metric.quantity,
      unit: metric.unit,
      azeotrope,
      ...(shareOfProducts && { shareOfProducts }),
      ...(shareOfMemory && { shareOfMemory }),
    };
    const compared = Object.entries(metric.peers ?? {}).flatMap(([who, key]) => {
      const theirs = rounds.map((round) => read(round[who], key));
      const peer = summarize(defined(theirs));
      const ratio = summarize(defined(own.map((value, index) => quotient(value, theirs[index]))));
      return peer === undefined ? [] : [{ ...row, peer: { who, ...peer }, ...(ratio && { ratio }) }];
    });
    return compared.length > 0 ? compared : [row];
  });
}

interface CostPoint {
  readonly x: number;
  readonly cost: number;
  readonly flop: number;
}

/**
 * How much faster cost grows than arithmetic from one point to the next, for each doubling of `x`:
 * ((cost₂ / cost₁) / (flop₂ / flop₁))^(1 / log2(x₂ / x₁)). 1 is proportional, less is better.
 */
export function excessPerDoubling(points: readonly CostPoint[]): number[] {
  return points.slice(1).map((point, index) => {
    const before = points[index];
    const excess = point.cost / before.cost / (point.flop / before.flop);
    return excess ** (1 / Math.log2(point.x / before.x));
  });
}

/**
 * The same of what each interval adds: how the price of one more operation, Δcost / Δflop, grows from one interval to the next for
 * each doubling of `x`. Work made of parts of different speed has a constant price when each part grows as its arithmetic, though
 * its total may shift to the slower part.
 */
export function priceGrowthPerDoubling(points: readonly CostPoint[]): number[] {
  const prices = points.slice(1).map((point, index) => {
    const before = points[index];
    return (point.cost - before.cost) / (point.flop - before.flop);
  });
  return prices.slice(1).map((price, index) => {
    // Cost that fell with more work is noise of a free interval: it says nothing of growth.
    if (price <= 0 || prices[index] <= 0) return Number.NaN;
    return (price / prices[index]) ** (1 / Math.log2(points[index + 2].x / points[index + 1].x));
  });
}

/** Slope of log cost over log x by least squares: cost ∝ x^slope. */
export function fittedExponent(points: readonly { x: number; cost: number }[]): number {
  const xs = points.map(({ x }) => Math.log(x));
  const ys = points.map(({ cost }) => Math.log(cost));
  const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const [mx, my] = [mean(xs), mean(ys)];
  const covariance = xs.reduce((sum, x, index) => sum + (x - mx) * (ys[index] - my), 0);
  return covariance / xs.reduce((sum, x) => sum + (x - mx) ** 2, 0);
}
