/** What a score says beyond log-probabilities: Δ under a proxy, and the distribution that the next token is drawn from. */
import { createScorer, type ScoreRow } from '../inference/score.js';
import { type DistributionOptions, samplingDistribution } from '../methods/antidistillation/distribution.js';
import { createDeltaEstimator, type EstimatorKind } from '../methods/antidistillation/estimators.js';
import { lastLogits } from '../methods/antidistillation/read-rows.js';
import { ConfigError } from '../support/errors.js';
import type { OpenedModel } from './open-model.js';
import type { OpenedProxy } from './open-proxy.js';

export interface DeltaOptions {
  /** Adds `delta`, and `deltaTop` where top-k is asked for. */
  readonly proxy?: OpenedProxy | undefined;
  readonly estimator: EstimatorKind;
  /** Step of a difference; default: the proxy's own. */
  readonly epsilon?: number | undefined;
  /** Adds `probabilities`: what the token after the last one is drawn from under these settings. */
  readonly distribution?: Omit<DistributionOptions, 'isNamed' | 'seen'> | undefined;
}

/** Keys that a row of scores has besides. */
export interface RowDeltas {
  /** Δ of each token, in the units of the gradient that is not normalised; the first has none. */
  readonly delta?: readonly (number | null)[];
  /** The ids of largest Δ at each position, largest first. */
  readonly deltaTop?: readonly (readonly (readonly [id: number, delta: number])[] | null)[];
  readonly probabilities?: readonly number[];
}

export interface DeltaScorer {
  /** Throws what `score` would throw for this row. */
  check(row: ScoreRow): void;
  score(rows: readonly ScoreRow[], options: { topK: number; signal?: AbortSignal | undefined }): Promise<RowDeltas[]>;
  dispose(): void;
}

export function createDeltaScorer({ model, tokenizer }: OpenedModel, options: DeltaOptions): DeltaScorer {
  const { proxy, distribution } = options;
  const { estimator: kind, epsilon = proxy?.proxy.epsilon ?? 0 } = options;
  const estimator =
    proxy &&
    createDeltaEstimator(proxy.model, proxy.proxy.gradient, {
      kind,
      epsilon,
      unsharedIds: proxy.forDefence.unsharedIds,
    });
  const checker = proxy === undefined ? undefined : createScorer(proxy.model);
  const isNamed = tokenizer === undefined ? undefined : (id: number) => tokenizer.tokenOf(id) !== undefined;
  return {
    check: (row) => checker?.check(row),
    async score(rows, { topK, signal }) {
      const wantsVectors = distribution !== undefined;
      const vectorsAfter = wantsVectors ? (row: number) => [rows[row].tokens.length - 1] : undefined;
      const deltas = await estimator?.estimate(rows, { topK, vectorsAfter, signal });
      const logits = wantsVectors ? await lastLogits(model, rows, signal) : undefined;
      return rows.map((_, index) => ({
        ...(deltas && { delta: deltas[index].values }),
        ...(deltas && topK > 0 && { deltaTop: deltas[index].top }),
        ...(distribution &&
          logits && {
            probabilities: samplingDistribution(logits[index], deltas?.[index].vectors[0], {
              ...distribution,
              seen: rows[index].tokens,
              isNamed,
            }),
          }),
      }));
    },
    dispose: () => estimator?.dispose(),
  };
}

/** How far two computations of one Δ may lie apart, as a share of the row's largest: estimators differ by less. */
const SAME_DELTA_FRACTION = 0.02;
/** The same of a probability. */
const SAME_PROBABILITY = 0.01;

/** Errors: ConfigError where a written row has other keys than would be written now, or clearly other numbers. */
export async function checkSameDeltas(
  scorer: DeltaScorer | undefined,
  { row, stored, where, signal }: { row: ScoreRow; stored: RowDeltas; where: string; signal?: AbortSignal | undefined },
): Promise<void> {
  const [now = {}] = (await scorer?.score([row], { topK: 0, signal })) ?? [];
  const fail = (what: string): never => {
    throw new ConfigError(
      `${where}: this file holds scores of another run: ${what}. Name another output, or remove the file.`,
    );
  };
  const check = (key: 'delta' | 'probabilities', tolerance: (values: readonly number[]) => number) => {
    const [before, after] = [stored[key], now[key]];
    if ((before === undefined) !== (after === undefined))
      fail(
        `its rows have ${before === undefined ? 'no' : 'a'} "${key}", now ${after === undefined ? 'none is' : 'one is'} asked for`,
      );
    if (before === undefined || after === undefined) return;
    const most = tolerance(after.map((value) => Math.abs(value ?? 0)));
    const isOther = (value: number | null, at: number) => !(Math.abs((value ?? 0) - (before[at] ?? 0)) <= most);
    if (after.length !== before.length || after.some(isOther))
      fail(`"${key}" has other numbers: another proxy, estimator, lambda or sampler gave them`);
  };
  check('delta', (values) => SAME_DELTA_FRACTION * Math.max(...values));
  check('probabilities', () => SAME_PROBABILITY);
}
