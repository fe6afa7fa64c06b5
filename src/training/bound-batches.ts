/** Graphs over a micro-batch, bound once for each shape with the memory of its rows. */
import type { GraphBuilder } from '../engine/graph/builder.js';
import type { Binding, DtypeArrays, Tensor, TensorMap } from '../engine/runtime/types.js';
import type { BatchArrays } from './batches.js';
import type { BatchShape, Objective, TensorTypes } from './objective.js';

/** Memory of tensors by their names. */
export type NamedArrays = Readonly<Record<string, DtypeArrays[keyof DtypeArrays]>>;

/** A micro-batch that knows how to write itself. */
export interface StepInput<Arrays = BatchArrays> {
  readonly batch: number;
  readonly time: number;
  /** Fills the inputs of the objective, by name; the weights of all parts of a step make up its loss. */
  fill(arrays: Arrays): void;
  /** Sees the objective's outputs, by name, before the next run overwrites them. */
  read?(outputs: NamedArrays): void;
}

/** What is done with an objective. */
export interface BatchGraph {
  /** Names what `build` makes of it, settings included: equal keys, equal graphs. */
  readonly key: string;
  /** What the graph takes beside the objective's tensors and the batch. */
  readonly state: TensorMap;
  /** Whether the graph runs more than once between two changes of what is trained: its packed forms are then kept. */
  readonly keepsPacked?: boolean;
  build(g: GraphBuilder, shape: BatchShape): void;
}

export interface BoundBatches<Arrays> {
  /** Writes the rows, runs the graph and gives its output `loss`. */
  run(graph: BatchGraph, input: StepInput<Arrays>): Promise<number>;
  dispose(): void;
}

interface BoundBatch {
  readonly binding: Binding;
  readonly inputs: NamedArrays;
  readonly outputs: NamedArrays;
  readonly loss: Tensor<'float32'>;
  dispose(): void;
}

/** Graphs kept bound: every bucket of length in a few row counts. */
const CAPACITY = 32;

/** Keeps the graphs used last bound to what the objective takes. */
export function createBoundBatches<Arrays = BatchArrays>(objective: Objective): BoundBatches<Arrays> {
  const bound = new Map<string, BoundBatch>();
  return {
    async run(graph, input) {
      const { batch, time } = input;
      const name = `${graph.key}/${batch}x${time}`;
      const entry = bound.get(name) ?? bindBatch(objective, graph, { batch, time, name });
      bound.delete(name);
      bound.set(name, entry);
      if (bound.size > CAPACITY) {
        const [oldest, evicted] = bound.entries().next().value!;
        bound.delete(oldest);
        evicted.dispose();
      }
      input.fill(entry.inputs as Arrays);
      await entry.binding.run();
      input.read?.(entry.outputs);
      return entry.loss.data[0];
    },
    dispose() {
      for (const entry of bound.values()) entry.dispose();
      bound.clear();
    },
  };
}

function bindBatch(
  objective: Objective,
  graph: BatchGraph,
  { batch, time, name }: BatchShape & { name: string },
): BoundBatch {
  const { compiler } = objective;
  const { runtime } = compiler;
  const shape = { batch, time };
  const allocate = (types: TensorTypes) =>
    Object.fromEntries(Object.entries(types).map(([key, type]) => [key, runtime.tensor(type.dtype, type.shape)]));
  const inputs = allocate(objective.inputs(shape));
  const outputs = allocate(objective.outputs(shape));
  const positions = runtime.tensor(
    'int64',
    [batch, time],
    Array.from({ length: batch * time }, (_, index) => index % time),
  );
  const loss = runtime.tensor('float32', []);
  const own = { ...inputs, ...outputs, positions, loss };
  const tensors = objective.tensors(time);
  const binding = compiler.bind(
    `train/${name}`,
    (g) => graph.build(g, shape),
    { ...tensors, ...graph.state, ...own },
    {
      plannedMemory: objective.isPlanned(shape),
      precision: objective.precision,
      frozen: Object.keys(tensors).filter((key) => graph.keepsPacked || !objective.trained.has(key)),
    },
  );
  const dataOf = (tensors: TensorMap): NamedArrays =>
    Object.fromEntries(Object.entries(tensors).map(([key, { data }]) => [key, data]));
  return {
    binding,
    inputs: dataOf(inputs),
    outputs: dataOf(outputs),
    loss,
    dispose() {
      binding.dispose();
      for (const tensor of Object.values(own)) tensor.dispose();
    },
  };
}
