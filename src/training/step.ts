/** Runs training steps: holds the gradient accumulators and one compiled graph for each shape of batch. */
import type { Binding, Tensor, TensorMap } from '../engine/runtime/types.js';
import { type LanguageModel, modelTensors } from '../model/language-model.js';
import { sha256OfJson } from '../support/hash.js';
import type { BatchArrays } from './batches.js';
import type { Optimizer } from './optimizer.js';
import {
  type AdamWConfig,
  accumulatorName,
  buildAccumulateGraph,
  buildApplyGraph,
  buildStepGraph,
  trainableSpecs,
} from './step-graph.js';

/** A micro-batch that knows how to write itself. */
export interface StepInput {
  readonly batch: number;
  readonly time: number;
  /** Fills tokens, targets and weights [B·T]; the weights of all parts of a step make up its loss. */
  fill(arrays: BatchArrays): void;
}

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

interface BoundGraph {
  readonly binding: Binding;
  readonly arrays: BatchArrays;
  readonly loss: Tensor<'float32'>;
  dispose(): void;
}

/** Graphs kept bound: every bucket of length in a few row counts. */
const BOUND_CAPACITY = 32;

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
  const specs = trainableSpecs(config, lora);
  const key = `${model.architectureKey}/${sha256OfJson({ adamw, checkpointing })}`;
  const gradientNorm = runtime.tensor('float32', []);
  const bound = new Map<string, BoundGraph>();
  let accumulation: { readonly tensors: ReadonlyMap<string, Tensor<'float32'>>; readonly apply: Binding } | undefined;

  const bindBatch = (kind: 'step' | 'accumulate', batch: number, time: number, state: TensorMap): BoundGraph => {
    const name = `${kind}/${batch}x${time}`;
    const kept = bound.get(name);
    bound.delete(name);
    const graph = { config, lora, batch, time, checkpointing };
    const entry =
      kept ??
      bindGraph(model, { batch, time, state, key: `train/${name}/${key}` }, (g) =>
        kind === 'step' ? buildStepGraph(g, graph, adamw) : buildAccumulateGraph(g, graph),
      );
    bound.set(name, entry);
    if (bound.size > BOUND_CAPACITY) {
      const [oldest, evicted] = bound.entries().next().value!;
      bound.delete(oldest);
      evicted.dispose();
    }
    return entry;
  };

  const accumulate = () => {
    if (accumulation !== undefined) return accumulation;
    const tensors = new Map(
      specs.map(({ name, shape }) => [accumulatorName(name), runtime.tensor('float32', shape)] as const),
    );
    const apply = compiler.bind(`train/apply/${key}`, (g) => buildApplyGraph(g, specs, adamw), {
      ...Object.fromEntries(model.parameters),
      ...Object.fromEntries(tensors),
      ...optimizer.tensors,
      gradientNorm,
    });
    accumulation = { tensors, apply };
    return accumulation;
  };

  return {
    async run(parts, learningRate) {
      optimizer.advance(learningRate);
      if (parts.length === 1) {
        const { batch, time, fill } = parts[0];
        const { binding, arrays, loss } = bindBatch('step', batch, time, { ...optimizer.tensors, gradientNorm });
        fill(arrays);
        await binding.run();
        return { lossNats: loss.data[0], gradientNorm: gradientNorm.data[0] };
      }
      const { tensors, apply } = accumulate();
      for (const tensor of tensors.values()) tensor.data.fill(0);
      let lossNats = 0;
      for (const { batch, time, fill } of parts) {
        const { binding, arrays, loss } = bindBatch('accumulate', batch, time, Object.fromEntries(tensors));
        fill(arrays);
        await binding.run();
        lossNats += loss.data[0];
      }
      await apply.run();
      return { lossNats, gradientNorm: gradientNorm.data[0] };
    },
    dispose() {
      for (const graph of bound.values()) graph.dispose();
      accumulation?.apply.dispose();
      for (const tensor of accumulation?.tensors.values() ?? []) tensor.dispose();
      gradientNorm.dispose();
    },
  };
}

/** Memory for a batch, attached with the model and `state` to the graph that `build` makes. */
function bindGraph(
  model: LanguageModel,
  { batch, time, state, key }: { batch: number; time: number; state: TensorMap; key: string },
  build: Parameters<LanguageModel['compiler']['bind']>[1],
): BoundGraph {
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
  const binding = compiler.bind(key, build, { ...modelTensors(model, time), ...state, ...own });
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
