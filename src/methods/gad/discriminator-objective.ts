/** The discriminator as something to train: scores of rows, and the loss that its stabilisers shape. */
import { expandComposites } from '../../engine/autodiff/expand.js';
import { gradients } from '../../engine/autodiff/reverse.js';
import type { GraphBuilder } from '../../engine/graph/builder.js';
import { add, linear, multiply, reduceSum, reshape } from '../../engine/graph/ops.js';
import type { Value } from '../../engine/graph/types.js';
import { SCALAR_HEAD } from '../../model/decoder.js';
import type { BatchShape, Objective } from '../../training/objective.js';
import type { Discriminator } from './discriminator.js';
import { type SpectralState, spectralInputs } from './spectral.js';

/** The scratch memory of smaller networks is planned as one block, which is faster; that of larger ones would stand twice. */
const PLANNED_WEIGHTS = 20e6;

export interface DiscriminatorGraph {
  readonly spectral: SpectralState | undefined;
  /** Features are multiplied by a mask [B, F] that the batch brings. */
  readonly hasDropout: boolean;
  /** The loss counts ‖∂score/∂embedded tokens‖² of each row, by weights that the batch brings. */
  readonly hasPenalty: boolean;
}

/**
 * Loss Σ_b coefficients[b]·score[b] (+ Σ_b penaltyWeights[b]·‖∂score[b]/∂embedded‖²). With coefficients ∂ℓ/∂score, taken at the
 * present weights, its gradient is that of any loss ℓ of the scores: rows of a group may stand in different micro-batches.
 * Inputs beside the discriminator's: coefficients [B], penaltyWeights [B], dropout [B, F]. Output scores [B].
 */
export function discriminatorObjective(discriminator: Discriminator, graph: DiscriminatorGraph): Objective {
  const { compiler, parameters, featureWidth } = discriminator;
  const { spectral, hasDropout, hasPenalty } = graph;
  const numWeights = [...parameters.values()].reduce((sum, { data }) => sum + data.length, 0);
  const types = ({ batch }: BatchShape) => ({
    coefficients: { dtype: 'float32' as const, shape: [batch] },
    ...(hasPenalty && { penaltyWeights: { dtype: 'float32' as const, shape: [batch] } }),
    ...(hasDropout && { dropout: { dtype: 'float32' as const, shape: [batch, featureWidth] } }),
  });
  return {
    compiler,
    key: `discriminator/${discriminator.key}/${spectral !== undefined}/${hasDropout}/${hasPenalty}`,
    trained: parameters,
    tensors: (time) => ({
      ...Object.fromEntries(parameters),
      ...discriminator.tensors(time),
      ...spectralInputs(spectral),
    }),
    inputs: (shape) => ({ ...discriminator.inputs(shape), ...types(shape) }),
    outputs: ({ batch }) => ({ scores: { dtype: 'float32', shape: [batch] } }),
    isPlanned: () => numWeights < PLANNED_WEIGHTS,
    build(plain, shape) {
      const g = hasPenalty ? expandComposites(plain) : plain;
      const own = new Map([...parameters].map(([name, { shape: of }]) => [name, g.input(name, 'float32', of)]));
      const weights = new Map([...own].map(([name, value]) => [name, spectral?.normalize(g, name, value) ?? value]));
      const { embedded, features } = discriminator.build(g, shape, weights);
      const inputs = Object.fromEntries(
        Object.entries(types(shape)).map(([name, type]) => [name, g.input(name, type.dtype, type.shape)]),
      ) as Record<string, Value>;
      const kept = hasDropout ? multiply(g, features, inputs.dropout) : features;
      const scores = reshape(g, linear(g, kept, weights.get(SCALAR_HEAD)!), [shape.batch]);
      g.output('scores', scores);
      const loss = reduceSum(g, multiply(g, inputs.coefficients, scores), [0]);
      const penalty = hasPenalty
        ? penaltyOf(g, { embedded, scores, weights: inputs.penaltyWeights, ...shape })
        : undefined;
      return { loss: penalty === undefined ? loss : add(g, loss, penalty), parameters: own };
    },
  };
}

/** Rows do not see each other, so the gradient of the sum of all scores holds that of each row's own. */
function penaltyOf(
  g: GraphBuilder,
  { embedded, scores, weights, batch, time }: BatchShape & { embedded: Value; scores: Value; weights: Value },
): Value {
  const [slope] = gradients(g, reduceSum(g, scores, [0]), [embedded]); // [B·T, C]
  const width = embedded.shape[1];
  const squares = reduceSum(g, reshape(g, multiply(g, slope, slope), [batch, time * width]), [1]); // [B]
  return reduceSum(g, multiply(g, weights, squares), [0]);
}
