/** Gradients of many micro-batches, added up where they lie. */
import type { Precision } from '../engine/onnx/emitter.js';
import type { Tensor, TensorMap } from '../engine/runtime/types.js';
import type { LanguageModel } from '../model/language-model.js';
import type { BatchArrays } from './batches.js';
import { createBoundBatches, type StepInput } from './bound-batches.js';
import { crossEntropy, languageModelObjective, type Objective } from './objective.js';
import { accumulatorName, buildAccumulate } from './step-graph.js';

export interface GradientAccumulator<Arrays = BatchArrays> {
  /** The sums so far, by the name of the trained parameter. */
  readonly gradients: ReadonlyMap<string, Tensor<'float32'>>;
  /** The same tensors as inputs of a graph (`gradient.<name>`). */
  readonly state: TensorMap;
  reset(): void;
  /** Adds the gradient of the loss of a micro-batch; gives that loss. */
  add(input: StepInput<Arrays>): Promise<number>;
  /** Frees the graphs, and the gradients unless they are kept. */
  dispose(options?: { keepGradients: boolean }): void;
}

/** Accumulators of zeros of Σ weights·nll for what is trained of a model: its adapters where it has any, else every parameter. */
export function createGradientAccumulator(
  model: LanguageModel,
  options: { checkpointing: boolean; precision?: Precision | undefined },
): GradientAccumulator {
  return createObjectiveAccumulator(languageModelObjective(model, crossEntropy, options));
}

/** Accumulators of zeros for what an objective trains. */
export function createObjectiveAccumulator<Arrays>(objective: Objective): GradientAccumulator<Arrays> {
  const { runtime } = objective.compiler;
  const gradients = new Map(
    [...objective.trained].map(([name, { shape }]) => [name, runtime.tensor('float32', shape)] as const),
  );
  const state = Object.fromEntries([...gradients].map(([name, tensor]) => [accumulatorName(name), tensor]));
  const batches = createBoundBatches<Arrays>(objective);
  return {
    gradients,
    state,
    reset() {
      for (const { data } of gradients.values()) data.fill(0);
    },
    add: (input) =>
      batches.run(
        {
          key: `accumulate/${objective.key}`,
          state,
          keepsPacked: true,
          build: (g, shape) => buildAccumulate(g, objective.build(g, shape)),
        },
        input,
      ),
    dispose({ keepGradients } = { keepGradients: false }) {
      batches.dispose();
      if (!keepGradients) for (const tensor of gradients.values()) tensor.dispose();
    },
  };
}
