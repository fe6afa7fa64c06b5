/** How far a rate over several trained models may lie from the true one: models differ by seed, and answers by chance. */

import { invariant } from '../support/errors.js';
import { createRandom } from '../support/random.js';
import { quantile } from '../support/statistics.js';
import type { Interval } from './intervals.js';

/** What was counted with one pair of seeds: one count for each quantity, in the same order in all cells. */
export interface SeedCell {
  /** Cells of one cluster share something (a teacher) and are drawn together. */
  readonly cluster: string | number;
  readonly counts: readonly { readonly correct: number; readonly total: number }[];
}

/**
 * Draws of pooled rates Σ correct / Σ total under resampling, one array of `draws` rates for each count. Three levels: clusters
 * with replacement, within each its cells with replacement, within each cell its answers (binomial, at the rate observed there).
 * Counts of a cell are drawn together, so that differences of rates are paired by seeds. With one cell only answers vary. The same
 * seed gives the same draws.
 * @see Davison & Hinkley, "Bootstrap Methods and their Application", 1997, §3.8 (nested resampling)
 */
export function bootstrapRates(
  cells: readonly SeedCell[],
  { draws = 1000, seed = 'bootstrap' }: { draws?: number; seed?: number | string } = {},
): Float64Array[] {
  invariant(cells.length > 0, 'a bootstrap of no cells');
  const numCounts = cells[0].counts.length;
  const clusters = groupByCluster(cells);
  const random = createRandom(seed);
  const rates = Array.from({ length: numCounts }, () => new Float64Array(draws));
  const correct = new Float64Array(numCounts);
  const total = new Float64Array(numCounts);
  for (let draw = 0; draw < draws; draw++) {
    correct.fill(0);
    total.fill(0);
    for (let pick = 0; pick < clusters.length; pick++) {
      const cluster = clusters[random.integer(clusters.length)];
      for (let index = 0; index < cluster.length; index++) {
        const cell = cluster[random.integer(cluster.length)];
        for (let count = 0; count < numCounts; count++) {
          const { total: size, cumulative } = cell[count];
          correct[count] += drawFrom(cumulative, random.uniform());
          total[count] += size;
        }
      }
    }
    for (let count = 0; count < numCounts; count++)
      rates[count][draw] = total[count] > 0 ? correct[count] / total[count] : 0;
  }
  return rates;
}

/** The middle 95 % of draws. */
export function percentileInterval(draws: ArrayLike<number>): Interval {
  return { lower: quantile(draws, 0.025), upper: quantile(draws, 0.975) };
}

interface Binomial {
  readonly total: number;
  /** P(X ≤ k) for k = 0 … total. */
  readonly cumulative: Float64Array;
}

function groupByCluster(cells: readonly SeedCell[]): Binomial[][][] {
  const known = new Map<string, Binomial>();
  const binomial = (correct: number, total: number): Binomial => {
    const key = `${correct}/${total}`;
    const found = known.get(key) ?? { total, cumulative: cumulativeBinomial(total, total > 0 ? correct / total : 0) };
    known.set(key, found);
    return found;
  };
  const clusters = new Map<string | number, Binomial[][]>();
  for (const { cluster, counts } of cells) {
    const members = clusters.get(cluster) ?? [];
    members.push(counts.map(({ correct, total }) => binomial(correct, total)));
    clusters.set(cluster, members);
  }
  return [...clusters.values()];
}

/** P(X ≤ k), X ~ Binomial(total, rate), by logarithms of the terms, so that neither tail underflows before the sum. */
function cumulativeBinomial(total: number, rate: number): Float64Array {
  const cumulative = new Float64Array(total + 1).fill(1);
  if (rate >= 1) return cumulative.fill(0, 0, total);
  if (rate <= 0) return cumulative;
  let logTerm = total * Math.log1p(-rate);
  let sum = 0;
  for (let k = 0; k < total; k++) {
    sum += Math.exp(logTerm);
    cumulative[k] = sum;
    logTerm += Math.log((total - k) / (k + 1)) + Math.log(rate) - Math.log1p(-rate);
  }
  return cumulative;
}

/** The smallest k with P(X ≤ k) > u. */
function drawFrom(cumulative: Float64Array, u: number): number {
  let low = 0;
  let high = cumulative.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (cumulative[middle] > u) high = middle;
    else low = middle + 1;
  }
  return low;
}
