/** The sampler: x ~ softmax((1/τ)·log p_T(·|c) + λ·Δ(·|c)). @see arXiv 2504.13146, equation 11 */
import type { GraphBuilder } from '../../engine/graph/builder.js';
import {
  add,
  concat,
  exponential,
  fill,
  gatherElements,
  logSoftmax,
  multiply,
  reduceSum,
  slice,
  subtract,
} from '../../engine/graph/ops.js';
import type { TensorType, Value } from '../../engine/graph/types.js';
import type { Tensor } from '../../engine/runtime/types.js';
import type { Companion } from '../../inference/companions.js';
import { column, type LogitsProcessor, type StepShape } from '../../inference/samplers/processor.js';
import { isGreedy } from '../../inference/samplers/settings.js';
import { invariant } from '../../support/errors.js';
import { createRandom, deriveSeed } from '../../support/random.js';
import type { EstimatorKind } from './estimators.js';
import { withZeros } from './with-zeros.js';

export interface TiltOptions {
  readonly lambda: number;
  readonly estimator: EstimatorKind;
  /** Step of a difference; the exact estimator has none. */
  readonly epsilon: number;
  /**
   * 'paper': divide by τ, cut the support, then add λΔ of log-probabilities. 'reference-code': add λΔ of raw logits, then divide by τ
   * and cut, as the authors' released program does.
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

/** Adds λΔ to the logits. Statistics of each token drawn: `delta` (its Δ) and `klNats` = KL(tilted ‖ untilted) of its distribution. */
export function createTilt(options: TiltOptions): LogitsProcessor {
  const { lambda, estimator, epsilon, order, permuted, companions, unsharedIds = [], proxy } = options;
  const isExact = estimator === 'jvp';
  const sources = isExact ? ['derivatives'] : ['forward', 'backward'];
  invariant(companions.length === sources.length, `${estimator} needs ${sources.length} companions`);
  const span = estimator === 'central' ? 2 * epsilon : epsilon;

  return {
    name: permuted ? 'permutation' : 'antidistillation',
    variant: [estimator, order, ...companions.map(({ model }) => model.config.vocabSize), ...unsharedIds].join('/'),
    position: order === 'paper' ? 'afterTruncation' : 'beforeTemperature',
    settings: { lambda, estimator, ...(isExact ? {} : { epsilon }), order, proxy },
    statistics: ['delta', 'klNats'],
    isNeeded: (sequences) => sequences.some(({ sampler }) => !isGreedy(sampler)),
    size: () => 0,
    columns(shape) {
      const { batch, vocabSize } = shape;
      const proxyType = (companion: Companion): TensorType => ({
        dtype: 'float32',
        shape: [batch, companion.model.config.vocabSize],
      });
      const shuffled: Record<string, TensorType> = permuted
        ? {
            permutation: { dtype: 'int64', shape: [batch, vocabSize] },
            signs: { dtype: 'float32', shape: [batch, vocabSize] },
          }
        : {};
      return {
        lambda: column(shape),
        /** 1 / span of the difference. */
        slope: column(shape),
        ...Object.fromEntries(sources.map((name, index) => [name, proxyType(companions[index])])),
        ...shuffled,
      };
    },
    supplied: (batch) =>
      Object.fromEntries(
        sources.map((name, index) => {
          const { runner } = companions[index];
          invariant(runner !== undefined, 'the companions of a tilt belong to the generator that samples with it');
          return [name, runner.result(batch)];
        }),
      ),
    build(g, logits, { columns, shape }) {
      const numbers = (name: string) => (order === 'paper' ? logSoftmax(g, columns[name]) : columns[name]);
      const estimated = isExact
        ? columns.derivatives
        : multiply(g, subtract(g, numbers('forward'), numbers('backward')), columns.slope);
      const fitted = withZeros(g, fitVocabulary(g, estimated, shape), unsharedIds);
      const delta = permuted ? multiply(g, gatherElements(g, fitted, columns.permutation), columns.signs) : fitted;
      const tilted = add(g, logits, multiply(g, columns.lambda, delta));
      return { logits: tilted, statistics: { delta, klNats: divergence(g, tilted, logits) } };
    },
    fill(columns, row, { sampler }) {
      // A greedy row among drawn ones takes the teacher's likeliest token, in whichever order λΔ comes.
      columns.lambda.data[row] = isGreedy(sampler) ? 0 : lambda;
      columns.slope.data[row] = 1 / span;
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
