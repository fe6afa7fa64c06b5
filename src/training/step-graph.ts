/** Graphs of a training step: loss and gradients of a batch, and the update of the parameters in place. */
import { createCheckpointing } from '../engine/autodiff/checkpointing.js';
import { gradients } from '../engine/autodiff/reverse.js';
import type { GraphBuilder } from '../engine/graph/builder.js';
import { add, attention, headLoss } from '../engine/graph/ops.js';
import type { Value } from '../engine/graph/types.js';
import type { ParameterSpec, TransformerConfig } from '../model/config.js';
import { attentionScale, declareDecoderInput, declareWeights, decoderHidden, headWeight } from '../model/decoder.js';
import { type LoraConfig, loraNames, loraTargets } from '../model/lora.js';
import { parameterSpecs } from '../model/parameters.js';

export interface AdamWConfig {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Decay of every tensor, norms and biases included, as torch.optim.AdamW does unless told otherwise. */
  readonly weightDecay: number;
}

export interface TrainingGraph {
  readonly config: TransformerConfig;
  /** Adapters: where given, only they are trained. */
  readonly lora?: LoraConfig | undefined;
  readonly batch: number;
  /** Tokens of a row. */
  readonly time: number;
  /** Keep only what enters each layer and compute the rest again on the way back. */
  readonly checkpointing: boolean;
}

/** Tensors that training changes: the adapters where there are any, else every parameter. */
export function trainableSpecs(config: TransformerConfig, lora?: LoraConfig): ParameterSpec[] {
  return lora === undefined ? parameterSpecs(config) : loraTargets(config, lora).flatMap(loraNames);
}

export const momentNames = (name: string): readonly [string, string] => [`m.${name}`, `v.${name}`];
export const accumulatorName = (name: string): string => `gradient.${name}`;

/**
 * One optimiser step on one batch. Inputs: tokens, targets [B·T] int64, weights [B·T] (share of each prediction in the loss),
 * positions [B, T], cos, sin [T, D/2], every parameter by name, `m.…` and `v.…` of the trained ones, and the scalars
 * learningRate, biasCorrection1, biasCorrection2, maxNorm. Outputs: loss [] = Σ weights·nll, gradientNorm [] before clipping,
 * and the trained parameters and their moments, over the old ones.
 */
export function buildStepGraph(g: GraphBuilder, graph: TrainingGraph, adamw: AdamWConfig): void {
  const { parameters, gradients: computed } = buildGradients(g, graph);
  buildUpdate(g, { parameters, gradients: computed }, adamw);
}

/**
 * Loss and gradients of one micro-batch: inputs of the data and the parameters as in `buildStepGraph`, and an accumulator
 * `gradient.…` for each trained tensor, to which its gradient is added in place. Output: loss [].
 */
export function buildAccumulateGraph(g: GraphBuilder, graph: TrainingGraph): void {
  const { parameters, gradients: computed } = buildGradients(g, graph);
  [...parameters.keys()].forEach((name, index) => {
    const accumulator = accumulatorName(name);
    const before = g.input(accumulator, 'float32', computed[index].shape);
    g.output(`next.${accumulator}`, add(g, before, computed[index]), { inPlaceOf: accumulator });
  });
}

/** The update alone, from accumulated gradients: parameters, accumulators, moments and scalars → gradientNorm and the new ones. */
export function buildApplyGraph(g: GraphBuilder, specs: readonly ParameterSpec[], adamw: AdamWConfig): void {
  const parameters = new Map(specs.map(({ name, shape }) => [name, g.input(name, 'float32', shape)]));
  const accumulated = specs.map(({ name, shape }) => g.input(accumulatorName(name), 'float32', shape));
  buildUpdate(g, { parameters, gradients: accumulated }, adamw);
}

interface Gradients {
  /** The trained tensors. */
  readonly parameters: ReadonlyMap<string, Value>;
  /** In the same order. */
  readonly gradients: readonly Value[];
}

function buildGradients(g: GraphBuilder, graph: TrainingGraph): Gradients {
  const { config, lora, batch, time } = graph;
  const numTokens = batch * time;
  const weights = declareWeights(g, config, lora);
  const input = declareDecoderInput(g, config, { batch, time, numPositions: time });
  const labels = {
    targets: g.input('targets', 'int64', [numTokens]),
    weights: g.input('weights', 'float32', [numTokens]),
  };
  const scale = attentionScale(config);
  const checkpointing = graph.checkpointing ? createCheckpointing(g) : undefined;
  const hidden = decoderHidden(g, config, weights, {
    input,
    options: {
      lora,
      attend: (_, { q, k, v }) => attention(g, q, k, v, scale),
      onLayer: (layer, x) => (layer < config.numLayers ? checkpointing?.begin(x) : checkpointing?.end()),
    },
  });
  const { loss } = headLoss(g, hidden, headWeight(config, weights), labels);
  g.output('loss', loss);
  const parameters = new Map(trainableSpecs(config, lora).map(({ name }) => [name, weights.get(name)!]));
  const recompute = checkpointing === undefined ? {} : { recompute: checkpointing.recompute };
  return { parameters, gradients: gradients(g, loss, [...parameters.values()], recompute) };
}

function buildUpdate(g: GraphBuilder, { parameters, gradients: computed }: Gradients, adamw: AdamWConfig): void {
  const { beta1, beta2, epsilon, weightDecay } = adamw;
  const names = [...parameters.keys()];
  const values = [...parameters.values()];
  const scalars = ['learningRate', 'biasCorrection1', 'biasCorrection2', 'maxNorm'].map((name) =>
    g.input(name, 'float32', []),
  );
  const moments = [0, 1].map((which) =>
    values.map((value, index) => g.input(momentNames(names[index])[which], 'float32', value.shape)),
  );
  const [norm, ...updated] = g.apply('adamw', [...scalars, ...values, ...computed, ...moments.flat()], {
    beta1,
    beta2,
    epsilon,
    decays: names.map(() => weightDecay),
  });
  g.output('gradientNorm', norm);
  const targets = [
    ...names,
    ...names.map((name) => momentNames(name)[0]),
    ...names.map((name) => momentNames(name)[1]),
  ];
  targets.forEach((name, index) => {
    g.output(`next.${name}`, updated[index], { inPlaceOf: name });
  });
}
