/** Runs training steps: holds the gradient accumulators and one compiled graph for each shape of batch. */
import type { Binding } from '../engine/runtime/types.js';
import type { LanguageModel } from '../model/language-model.js';
import { sha256OfJson } from '../support/hash.js';
import { type BatchGraph, createBoundBatches, type StepInput } from './bound-batches.js';
import { createGradientAccumulator, type GradientAccumulator } from './gradient-accumulator.js';
import type { Optimizer } from './optimizer.js';
import { type AdamWConfig, buildApplyGraph, buildStepGraph, trainableSpecs } from './step-graph.js';

export interface StepResult {
  /** Σ weights·nll over all parts, before the update, in nats. */
  readonly lossNats: number;
  /** Global norm of the gradient before clipping. */
  readonly gradientNorm: number;
}

export interface TrainingStep {
  /** Loss and gradients of the parts together, then one update of the model and the optimiser in place. */
  run(parts: readonly StepInput[], learningRate: number): Promise<StepResult>;
  dispose(): void;
}

/**
 * Prepares the training of a model (of its adapters, where it has any). A step of one part is one graph; several parts add
 * their gradients up first, which differs by rounding only.
 */
export function createTrainingStep(
  model: LanguageModel,
  optimizer: Optimizer,
  options: AdamWConfig & { readonly checkpointing: boolean },
): TrainingStep {
  const { compiler, config, lora } = model;
  const { runtime } = compiler;
  const { checkpointing, ...rest } = options;
  const adamw = { beta1: rest.beta1, beta2: rest.beta2, epsilon: rest.epsilon, weightDecay: rest.weightDecay };
  const key = `${model.architectureKey}/${sha256OfJson({ adamw, checkpointing })}`;
  const gradientNorm = runtime.tensor('float32', []);
  const batches = createBoundBatches(model);
  const step: BatchGraph = {
    key: `step/${key}`,
    state: { ...optimizer.tensors, gradientNorm },
    checkpointing,
    build: (g, shape) => buildStepGraph(g, { config, lora, ...shape, checkpointing }, adamw),
  };
  let accumulation: { readonly accumulator: GradientAccumulator; readonly apply: Binding } | undefined;

  const accumulate = () => {
    if (accumulation !== undefined) return accumulation;
    const accumulator = createGradientAccumulator(model, { checkpointing });
    const specs = trainableSpecs(config, lora);
    const apply = compiler.bind(`train/apply/${key}`, (g) => buildApplyGraph(g, specs, adamw), {
      ...Object.fromEntries(model.parameters),
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
