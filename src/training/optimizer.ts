/** State of the optimiser: two moments for each trained tensor, the number of steps taken, and the scalars of a step. */
import type { Runtime, Tensor, TensorMap } from '../engine/runtime/types.js';
import type { ParameterSpec } from '../model/config.js';
import { type AdamWConfig, momentNames } from './step-graph.js';

export interface Optimizer {
  /** Moments `m.…` and `v.…` by name, zero at first. */
  readonly moments: ReadonlyMap<string, Tensor<'float32'>>;
  /** Steps taken. */
  step: number;
  /** Inputs of the update: moments and scalars. */
  readonly tensors: TensorMap;
  /** Counts a step and sets its scalars: rate, 1 − β₁ˢ and 1 − β₂ˢ. */
  advance(learningRate: number): void;
  dispose(): void;
}

export function createOptimizer(
  runtime: Runtime,
  specs: readonly ParameterSpec[],
  { beta1, beta2, gradientClip }: AdamWConfig & { readonly gradientClip: number },
): Optimizer {
  const moments = new Map(
    specs.flatMap(({ name, shape }) =>
      momentNames(name).map((moment) => [moment, runtime.tensor('float32', shape)] as const),
    ),
  );
  const scalar = (value: number) => runtime.tensor('float32', [], [value]);
  const scalars = {
    learningRate: scalar(0),
    biasCorrection1: scalar(1),
    biasCorrection2: scalar(1),
    maxNorm: scalar(gradientClip),
  };
  return {
    moments,
    step: 0,
    tensors: { ...Object.fromEntries(moments), ...scalars },
    advance(learningRate) {
      this.step += 1;
      scalars.learningRate.data[0] = learningRate;
      scalars.biasCorrection1.data[0] = 1 - beta1 ** this.step;
      scalars.biasCorrection2.data[0] = 1 - beta2 ** this.step;
    },
    dispose() {
      for (const tensor of [...moments.values(), ...Object.values(scalars)]) tensor.dispose();
    },
  };
}
