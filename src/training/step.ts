/** Runs training steps: holds the gradient accumulators and one compiled graph for each shape of batch. */
import type { Precision } from '../engine/onnx/emitter.js';
import type { Binding } from '../engine/runtime/types.js';
import type { LanguageModel } from '../model/language-model.js';
import { sha256OfJson } from '../support/hash.js';
import type { BatchArrays } from './batches.js';
import { type BatchGraph, createBoundBatches, type StepInput } from './bound-batches.js';
import { createObjectiveAccumulator, type GradientAccumulator } from './gradient-accumulator.js';
import { crossEntropy, languageModelObjective, type Objective } from './objective.js';
import type { Optimizer } from './optimizer.js';
import { type AdamWConfig, buildApplyGraph, buildStep } from './step-graph.js';

export interface StepResult {
  /** The loss summed over all parts, before the update: Σ weights·nll in supervised training. */
  readonly lossNats: number;
  /** Global norm of the gradient before clipping. */
  readonly gradientNorm: number;
}

export interface TrainingStep<Arrays = BatchArrays> {
  /** Loss and gradients of the parts together, then one update of the model and the optimiser in place. */
  run(parts: readonly StepInput<Arrays>[], learningRate: number): Promise<StepResult>;
  dispose(): void;
}

/** Prepares supervised training of a model (of its adapters, where it has any). */
export function createTrainingStep(
  model: LanguageModel,
  optimizer: Optimizer,
  {
    checkpointing,
    precision,
    ...adamw
  }: AdamWConfig & {
    readonly checkpointing: boolean;
    /** Default: the compiler's. */
    readonly precision?: Precision | undefined;
  },
): TrainingStep {
  return createObjectiveStep(
    languageModelObjective(model, crossEntropy, { checkpointing, precision }),
    optimizer,
    adamw,
  );
}

/**
 * Prepares the training of what an objective trains. A step of one part is one graph; several parts add their gradients up
 * first, which differs by rounding only.
 */
export function createObjectiveStep<Arrays>(
  objective: Objective,
  optimizer: Optimizer,
  { beta1, beta2, epsilon, weightDecay }: AdamWConfig,
): TrainingStep<Arrays> {
  const { compiler } = objective;
  const { runtime } = compiler;
  const adamw = { beta1, beta2, epsilon, weightDecay };
  const key = `${objective.key}/${sha256OfJson(adamw)}`;
  const gradientNorm = runtime.tensor('float32', []);
  const batches = createBoundBatches<Arrays>(objective);
  const step: BatchGraph = {
    key: `step/${key}`,
    state: { ...optimizer.tensors, gradientNorm },
    build: (g, shape) => buildStep(g, objective.build(g, shape), adamw),
  };
  let accumulation: { readonly accumulator: GradientAccumulator<Arrays>; readonly apply: Binding } | undefined;

  const accumulate = () => {
    if (accumulation !== undefined) return accumulation;
    const accumulator = createObjectiveAccumulator<Arrays>(objective);
    const specs = [...objective.trained].map(([name, { shape }]) => ({ name, shape }));
    const apply = compiler.bind(`train/apply/${key}`, (g) => buildApplyGraph(g, specs, adamw), {
      ...Object.fromEntries(objective.trained),
      ...accumulator.state,
      ...optimizer.tensors,
      gradientNorm,
    });
    accumulation = { accumulator, apply };
    return accumulation;
  };

  return {
    async run(parts, learningRate) {
      optimizer.advance(learningRate);
      if (parts.length === 1) {
        const lossNats = await batches.run(step, parts[0]);
        return { lossNats, gradientNorm: gradientNorm.data[0] };
      }
      const { accumulator, apply } = accumulate();
      accumulator.reset();
      let lossNats = 0;
      for (const part of parts) lossNats += await accumulator.add(part);
      await apply.run();
      return { lossNats, gradientNorm: gradientNorm.data[0] };
    },
    dispose() {
      batches.dispose();
      accumulation?.apply.dispose();
      accumulation?.accumulator.dispose();
      gradientNorm.dispose();
    },
  };
}
