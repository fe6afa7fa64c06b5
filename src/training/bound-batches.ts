/** Graphs over a micro-batch, bound once for each shape with the memory of its rows. */
import type { GraphBuilder } from '../engine/graph/builder.js';
import type { Binding, Tensor, TensorMap } from '../engine/runtime/types.js';
import { type LanguageModel, modelTensors } from '../model/language-model.js';
import type { BatchArrays } from './batches.js';
import { isPlanned } from './memory-estimate.js';

/** A micro-batch that knows how to write itself. */
export interface StepInput {
  readonly batch: number;
  readonly time: number;
  /** Fills tokens, targets and weights [B·T]; the weights of all parts of a step make up its loss. */
  fill(arrays: BatchArrays): void;
}

export interface BatchGraph {
  /** Names what `build` makes, shape apart: equal keys, equal graphs. */
  readonly key: string;
  /** What the graph takes beside the model and the batch. */
  readonly state: TensorMap;
  readonly checkpointing: boolean;
  build(g: GraphBuilder, shape: { batch: number; time: number }): void;
}

export interface BoundBatches {
  /** Writes the rows, runs the graph and gives its output `loss`. */
  run(graph: BatchGraph, input: StepInput): Promise<number>;
  dispose(): void;
}

interface BoundBatch {
  readonly binding: Binding;
  readonly arrays: BatchArrays;
  readonly loss: Tensor<'float32'>;
  dispose(): void;
}

/** Graphs kept bound: every bucket of length in a few row counts. */
const CAPACITY = 32;

/** Keeps the graphs used last bound to the model. */
export function createBoundBatches(model: LanguageModel): BoundBatches {
  const bound = new Map<string, BoundBatch>();
  return {
    async run(graph, { batch, time, fill }) {
      const name = `${graph.key}/${batch}x${time}`;
      const entry = bound.get(name) ?? bindBatch(model, graph, { batch, time, name });
      bound.delete(name);
      bound.set(name, entry);
      if (bound.size > CAPACITY) {
        const [oldest, evicted] = bound.entries().next().value!;
        bound.delete(oldest);
        evicted.dispose();
      }
      fill(entry.arrays);
      await entry.binding.run();
      return entry.loss.data[0];
    },
    dispose() {
      for (const entry of bound.values()) entry.dispose();
      bound.clear();
    },
  };
}

function bindBatch(
  model: LanguageModel,
  graph: BatchGraph,
  { batch, time, name }: { batch: number; time: number; name: string },
): BoundBatch {
  const { compiler } = model;
  const { runtime } = compiler;
  const numTokens = batch * time;
  const tokens = runtime.tensor('int64', [numTokens]);
  const targets = runtime.tensor('int64', [numTokens]);
  const weights = runtime.tensor('float32', [numTokens]);
  const positions = runtime.tensor(
    'int64',
    [batch, time],
    Array.from({ length: numTokens }, (_, index) => index % time),
  );
  const loss = runtime.tensor('float32', []);
  const own = { tokens, targets, weights, positions, loss };
  const { checkpointing } = graph;
  const plannedMemory = isPlanned(model.config, { batch, time, lora: model.lora, checkpointing });
  const binding = compiler.bind(
    `train/${name}`,
    (g) => graph.build(g, { batch, time }),
    { ...modelTensors(model, time), ...graph.state, ...own },
    { plannedMemory },
  );
  return {
    binding,
    arrays: { tokens: tokens.data, targets: targets.data, weights: weights.data },
    loss,
    dispose() {
      binding.dispose();
      for (const tensor of Object.values(own)) tensor.dispose();
    },
  };
}
