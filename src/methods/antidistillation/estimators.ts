/** The three ways to estimate Δ(x|c) = ⟨g, ∇ log p(x|c; θ)⟩ = d/dt log p(x|c; θ + t·g) at t = 0. */
import type { ScoreRow } from '../../inference/score.js';
import type { LanguageModel } from '../../model/language-model.js';
import { perturbedModel } from './perturb.js';
import { type ReadOptions, type RowNumbers, readTokens } from './read-rows.js';
import type { Readout } from './readout.js';

/**
 * jvp: the derivative itself, by forward mode. central: [log p(θ+εg) − log p(θ−εg)] / 2ε. forward: [log p(θ+εg) − log p(θ)] / ε.
 * @see arXiv 2504.13146, equations 7 and 10; the one-sided difference is that of its first version
 */
export const ESTIMATOR_KINDS = ['jvp', 'central', 'forward'] as const;

export type EstimatorKind = (typeof ESTIMATOR_KINDS)[number];

export interface DeltaEstimator {
  /** Δ of every given token of every row, under the model that was given. Errors: DataError for rows it cannot read. */
  estimate(rows: readonly ScoreRow[], options?: ReadOptions): Promise<RowNumbers[]>;
  /** Frees what was made: perturbed copies or tangents. The model stays. */
  dispose(): void;
}

/**
 * An estimator of Δ for given tokens. `epsilon` is the step of a difference, in units of `gradient`; jvp needs none. Δ is 0 at
 * `unsharedIds`, which mean another token to whoever gives the rows.
 */
export function createDeltaEstimator(
  model: LanguageModel,
  gradient: ReadonlyMap<string, Float32Array>,
  options: { kind: EstimatorKind; epsilon: number; unsharedIds?: readonly number[] | undefined },
): DeltaEstimator {
  const { readout: numbers, made } = prepare(model, gradient, options);
  const readout: Readout = { ...numbers, zeroIds: options.unsharedIds };
  return {
    estimate: (rows, options) => readTokens(readout, rows, options),
    dispose() {
      for (const each of made) each.dispose();
    },
  };
}

function prepare(
  model: LanguageModel,
  gradient: ReadonlyMap<string, Float32Array>,
  { kind, epsilon }: { kind: EstimatorKind; epsilon: number },
): { readout: Readout; made: readonly { dispose(): void }[] } {
  if (kind === 'jvp') {
    const { runtime } = model.compiler;
    const direction = new Map(
      [...model.parameters].map(([name, { shape }]) => [name, runtime.tensor('float32', shape, gradient.get(name))]),
    );
    return { readout: { kind: 'derivative', sources: [{ model, direction }] }, made: [...direction.values()] };
  }
  const ahead = perturbedModel(model, gradient, epsilon);
  const behind = kind === 'central' ? perturbedModel(model, gradient, -epsilon) : model;
  const slope = 1 / (kind === 'central' ? 2 * epsilon : epsilon);
  return {
    readout: { kind: 'difference', sources: [{ model: ahead }, { model: behind }], slope },
    made: behind === model ? [ahead] : [ahead, behind],
  };
}
