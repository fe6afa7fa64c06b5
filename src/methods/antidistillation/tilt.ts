/** The sampler: x ~ softmax((1/τ)·log p_T(·|c) + λ·Δ(·|c)). @see arXiv 2504.13146, equation 11 */
import type { GraphBuilder } from '../../engine/graph/builder.js';
import {
  add,
  concat,
  exponential,
  fill,
  gatherElements,
  lessOrEqual,
  logSoftmax,
  multiply,
  reduceSum,
  select,
  slice,
  softmax,
  subtract,
} from '../../engine/graph/ops.js';
import type { TensorType, Value } from '../../engine/graph/types.js';
import type { Tensor } from '../../engine/runtime/types.js';
import type { Companion } from '../../inference/companions.js';
import { column, EXCLUDED, type LogitsProcessor, type StepShape } from '../../inference/samplers/processor.js';
import { isGreedy } from '../../inference/samplers/settings.js';
import { invariant } from '../../support/errors.js';
import { createRandom, deriveSeed } from '../../support/random.js';
import { type DeltaSource, derivativeSource, differenceSource } from './delta-source.js';
import type { EstimatorKind } from './estimators.js';
import { withZeros } from './with-zeros.js';

export interface TiltOptions {
  readonly lambda: number;
  readonly estimator: EstimatorKind;
  /** Step of a difference; the exact estimator has none. */
  readonly epsilon: number;
  /**
   * 'paper': divide by τ, cut the support, then add λΔ. 'reference-code': add λΔ, then divide by τ and cut, as the authors' released
   * program does. Its Δ are differences of raw logits, a constant of the position beside those of log-probabilities: that changes no draw
   * where every id has a Δ of its own, and where some have 0 by decision it would shift these against all others, so it is not followed.
   */
  readonly order: 'paper' | 'reference-code';
  /** The control: Δ permuted over the vocabulary and its signs flipped at random, anew at each step. */
  readonly permuted: boolean;
  /** One that gives derivatives (jvp), or the two models of a difference, the one stepped forward first. */
  readonly companions: readonly Companion[];
  /** Ids of the teacher that mean another token to the proxy: their Δ is 0. Default none. */
  readonly unsharedIds?: readonly number[] | undefined;
  /** Identity of the proxy artefact, for the record. */
  readonly proxy: Readonly<Record<string, unknown>>;
}

/**
 * Adds λΔ to the logits. Statistics of each token drawn: `delta` (its Δ) and `klNats` = KL(tilted ‖ untilted) of the logits it is added to, in the
 * order of the reference code those before temperature and cuts. A constant added to all Δ of a position changes nothing that is drawn: they are
 * counted from their mean under the untilted distribution of these logits, so that the proxy's own need not be normalised, nor its head be
 * computed where top-k, top-p or min-p leave tokens out.
 */
export function createTilt(options: TiltOptions): LogitsProcessor {
  const { lambda, estimator, epsilon, order, permuted, unsharedIds = [], proxy } = options;
  const source = sourceOf(options);
  // A constant would change what is drawn where some Δ are 0 by decision, and where Δ of tokens left out are shuffled in.
  const isFree = ({ vocabSize }: StepShape): boolean =>
    !permuted && unsharedIds.length === 0 && source.vocabSize >= vocabSize;

  return {
    name: permuted ? 'permutation' : 'antidistillation',
    variant: [source.variant, order, ...unsharedIds].join('/'),
    position: order === 'paper' ? 'afterTruncation' : 'beforeTemperature',
    settings: { lambda, estimator, ...(estimator === 'jvp' ? {} : { epsilon }), order, proxy },
    statistics: ['delta', 'klNats'],
    isNeeded: (sequences) => sequences.some(({ sampler }) => !isGreedy(sampler)),
    size: () => 0,
    columns(shape) {
      const { batch, vocabSize } = shape;
      const shuffled: Record<string, TensorType> = permuted
        ? {
            permutation: { dtype: 'int64', shape: [batch, vocabSize] },
            signs: { dtype: 'float32', shape: [batch, vocabSize] },
          }
        : {};
      return { lambda: column(shape), ...source.columns(batch), ...shuffled };
    },
    supplied: (batch) => source.supplied(batch),
    build(g, logits, { columns, shape, isCut }) {
      const deltaOf = () => {
        if (isFree(shape)) return centred(g, fitVocabulary(g, source.build(g, columns, true), shape), logits, isCut);
        const fitted = withZeros(g, fitVocabulary(g, source.build(g, columns, false), shape), unsharedIds);
        return permuted ? multiply(g, gatherElements(g, fitted, columns.permutation), columns.signs) : fitted;
      };
      const delta = deltaOf();
      const tilted = add(g, logits, multiply(g, columns.lambda, delta));
      return { logits: tilted, statistics: { delta, klNats: divergence(g, tilted, logits) } };
    },
    fill(columns, row, { sampler }) {
      // A greedy row among drawn ones takes the teacher's likeliest token, in whichever order λΔ comes.
      columns.lambda.data[row] = isGreedy(sampler) ? 0 : lambda;
      source.fill(columns, row);
    },
    ...(permuted && {
      async prepare({ sequences }, columns) {
        sequences.forEach(({ seed, tokens }, row) => {
          shuffleRow(deriveSeed(seed, 'permutation', tokens.length), row, {
            permutation: columns.permutation as Tensor<'int64'>,
            signs: columns.signs as Tensor<'float32'>,
          });
        });
      },
    }),
  };
}

function sourceOf({ estimator, epsilon, companions }: TiltOptions): DeltaSource {
  const needed = estimator === 'jvp' ? 1 : 2;
  invariant(companions.length === needed, `${estimator} needs ${needed} companions`);
  if (estimator === 'jvp') return derivativeSource(companions[0]);
  const [forward, backward] = companions;
  const span = estimator === 'central' ? 2 * epsilon : epsilon;
  return differenceSource([forward, backward], { kind: estimator, span });
}

/** Below it is no logit but EXCLUDED, whatever temperature has divided that. */
const LEAST_LOGIT = EXCLUDED * 1e-10;

/** Δ − Σ softmax(logits)·Δ, over the tokens that are not left out. */
function centred(g: GraphBuilder, delta: Value, logits: Value, isCut: boolean): Value {
  const isLeft = () => lessOrEqual(g, fill(g, [], LEAST_LOGIT), logits);
  const moved = isCut ? select(g, isLeft(), delta, fill(g, [], 0)) : delta;
  const mean = reduceSum(g, multiply(g, softmax(g, logits), moved), [1], true);
  return subtract(g, moved, mean);
}

/** Δ of a proxy whose embedding has more or fewer padding rows than the teacher's: cut, or filled with zeros. */
function fitVocabulary(g: GraphBuilder, delta: Value, { batch, vocabSize }: StepShape): Value {
  const width = delta.shape[1];
  if (width === vocabSize) return delta;
  if (width > vocabSize) return slice(g, delta, { axis: 1, start: 0, end: vocabSize });
  return concat(g, [delta, fill(g, [batch, vocabSize - width], 0)], 1);
}

/** KL(softmax a ‖ softmax b) of each row, [B, 1]. */
function divergence(g: GraphBuilder, a: Value, b: Value): Value {
  const [logA, logB] = [logSoftmax(g, a), logSoftmax(g, b)];
  return reduceSum(g, multiply(g, exponential(g, logA), subtract(g, logA, logB)), [1], true);
}

/** A uniform permutation (Fisher and Yates) and fair signs, decided by the seed. */
function shuffleRow(
  seed: string,
  row: number,
  { permutation, signs }: { permutation: Tensor<'int64'>; signs: Tensor<'float32'> },
): void {
  const random = createRandom(seed);
  const size = permutation.shape[1];
  const start = row * size;
  const ids = permutation.data;
  for (let index = 0; index < size; index++) {
    const other = random.integer(index + 1);
    ids[start + index] = ids[start + other];
    ids[start + other] = BigInt(index);
    signs.data[start + index] = random.integer(2) === 0 ? 1 : -1;
  }
}
