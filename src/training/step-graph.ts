/** Graphs of a training step: loss and gradients of a batch, and the update of the parameters in place. */
import { gradients } from '../engine/autodiff/reverse.js';
import type { GraphBuilder } from '../engine/graph/builder.js';
import { add } from '../engine/graph/ops.js';
import type { Value } from '../engine/graph/types.js';
import type { ParameterSpec } from '../model/config.js';
import { buildTokenLoss, crossEntropy, type Differentiable } from './objective.js';
import type { TrainingGraph } from './trainable.js';

export interface AdamWConfig {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Decay of every tensor, norms and biases included, as torch.optim.AdamW does unless told otherwise. */
  readonly weightDecay: number;
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
  buildStep(g, buildTokenLoss(g, graph, crossEntropy), adamw);
}

/** The same of any loss. */
export function buildStep(g: GraphBuilder, differentiable: Differentiable, adamw: AdamWConfig): void {
  buildUpdate(g, buildGradients(g, differentiable), adamw);
}

/**
 * Loss and gradients of one micro-batch: inputs of the data and the parameters as in `buildStepGraph`, and an accumulator
 * `gradient.…` for each trained tensor, to which its gradient is added in place. Output: loss [].
 */
export function buildAccumulateGraph(g: GraphBuilder, graph: TrainingGraph): void {
  buildAccumulate(g, buildTokenLoss(g, graph, crossEntropy));
}

/** The same of any loss. */
export function buildAccumulate(g: GraphBuilder, differentiable: Differentiable): void {
  const { parameters, gradients: computed } = buildGradients(g, differentiable);
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

function buildGradients(g: GraphBuilder, { loss, parameters, recompute }: Differentiable): Gradients {
  g.output('loss', loss);
  return {
    parameters,
    gradients: gradients(g, loss, [...parameters.values()], recompute === undefined ? {} : { recompute }),
  };
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
