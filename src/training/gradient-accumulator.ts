/** Gradients of many micro-batches, added up where they lie. */
import type { Tensor, TensorMap } from '../engine/runtime/types.js';
import type { LanguageModel } from '../model/language-model.js';
import { createBoundBatches, type StepInput } from './bound-batches.js';
import { accumulatorName, buildAccumulateGraph, trainableSpecs } from './step-graph.js';

export interface GradientAccumulator {
  /** The sums so far, by the name of the trained parameter. */
  readonly gradients: ReadonlyMap<string, Tensor<'float32'>>;
  /** The same tensors as inputs of a graph (`gradient.<name>`). */
  readonly state: TensorMap;
  reset(): void;
  /** Adds the gradient of Σ weights·nll of a micro-batch; gives that loss in nats. */
  add(input: StepInput): Promise<number>;
  /** Frees the graphs, and the gradients unless they are kept. */
  dispose(options?: { keepGradients: boolean }): void;
}

/** Accumulators of zeros for what is trained of a model: its adapters where it has any, else every parameter. */
export function createGradientAccumulator(
  model: LanguageModel,
  { checkpointing }: { checkpointing: boolean },
): GradientAccumulator {
  const { config, lora, architectureKey, compiler } = model;
  const gradients = new Map(
    trainableSpecs(config, lora).map(({ name, shape }) => [name, compiler.runtime.tensor('float32', shape)] as const),
  );
  const state = Object.fromEntries([...gradients].map(([name, tensor]) => [accumulatorName(name), tensor]));
  const batches = createBoundBatches(model);
  return {
    gradients,
    state,
    reset() {
      for (const { data } of gradients.values()) data.fill(0);
    },
    add: (input) =>
      batches.run(
        {
          key: `accumulate/${architectureKey}/${checkpointing}`,
          state,
          checkpointing,
          build: (g, shape) => buildAccumulateGraph(g, { config, lora, ...shape, checkpointing }),
        },
        input,
      ),
    dispose({ keepGradients } = { keepGradients: false }) {
      batches.dispose();
      if (!keepGradients) for (const tensor of gradients.values()) tensor.dispose();
    },
  };
}
