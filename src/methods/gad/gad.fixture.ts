/** What the tests of adversarial distillation share: a tiny model, and objectives in the engine's float64 reference. */
import { createGraphBuilder } from '../../engine/graph/builder.js';
import { type Array64, evaluate } from '../../engine/reference.fixture.js';
import type { TransformerConfig } from '../../model/config.js';
import type { NamedArrays } from '../../training/bound-batches.js';
import type { BatchShape, Objective } from '../../training/objective.js';
import { tinyConfig } from '../../training/training.fixture.js';

/** 1 layer, 2 query heads on 1 key/value head, 12 words. */
export const smallConfig: TransformerConfig = {
  ...tinyConfig,
  vocabSize: 12,
  hiddenSize: 8,
  intermediateSize: 8,
  numLayers: 1,
  numHeads: 2,
  numKvHeads: 1,
  headSize: 4,
  maxPositions: 24,
  eosTokenIds: [11],
  initializerRange: 0.4,
};

export interface Objective64 {
  /** Outputs of the objective and its `loss`, with the parameters moved: by name, then by flat index. */
  at(moves?: Readonly<Record<string, ReadonlyMap<number, number>>>): Record<string, Array64>;
}

/** An objective on one batch in float64, by plain loops that share nothing with the product's lowerings. */
export function objective64(objective: Objective, shape: BatchShape, fill: (arrays: NamedArrays) => void): Objective64 {
  const g = createGraphBuilder();
  g.output('loss', objective.build(g, shape).loss);
  const graph = g.finish();
  const size = (extents: readonly number[]) => extents.reduce((product, extent) => product * extent, 1);
  const types = objective.inputs(shape);
  const arrays = Object.fromEntries(
    Object.entries(types).map(([name, { dtype, shape: of }]) => [
      name,
      dtype === 'int64' ? new BigInt64Array(size(of)) : new Float32Array(size(of)),
    ]),
  );
  fill(arrays);
  const numbers = (values: ArrayLike<number | bigint>) => Float64Array.from(values as ArrayLike<number>, Number);
  const inputs: Record<string, Array64> = {
    positions: {
      shape: [shape.batch, shape.time],
      data: Float64Array.from({ length: shape.batch * shape.time }, (_, index) => index % shape.time),
    },
  };
  for (const [name, tensor] of Object.entries(objective.tensors(shape.time)))
    inputs[name] = { shape: tensor.shape, data: numbers(tensor.data) };
  for (const [name, array] of Object.entries(arrays)) inputs[name] = { shape: types[name].shape, data: numbers(array) };
  return {
    at(moves = {}) {
      const moved = { ...inputs };
      for (const [name, changes] of Object.entries(moves)) {
        const data = Float64Array.from(inputs[name].data);
        for (const [index, by] of changes) data[index] += by;
        moved[name] = { shape: inputs[name].shape, data };
      }
      return evaluate(graph, moved);
    },
  };
}

/** Central difference by one element of a parameter. */
export function slope(
  of: (moves: Readonly<Record<string, ReadonlyMap<number, number>>>) => number,
  name: string,
  index: number,
): number {
  const step = 1e-4;
  const at = (by: number) => of({ [name]: new Map([[index, by]]) });
  return (at(step) - at(-step)) / (2 * step);
}
