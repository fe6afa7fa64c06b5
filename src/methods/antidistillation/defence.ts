/** From a proxy and its gradient to what a generator samples with. */
import type { Tensor } from '../../engine/runtime/types.js';
import type { Companion } from '../../inference/companions.js';
import type { LogitsProcessor } from '../../inference/samplers/processor.js';
import type { LanguageModel } from '../../model/language-model.js';
import type { EstimatorKind } from './estimators.js';
import { perturbedModel } from './perturb.js';
import type { ProxyArtefact } from './proxy.js';
import { createTilt } from './tilt.js';

export interface DefenceOptions {
  /** Default: central differences, as in the paper. */
  readonly estimator?: EstimatorKind;
  /** Step of a difference; default: the proxy's own. */
  readonly epsilon?: number | undefined;
  readonly order?: 'paper' | 'reference-code';
  /** Sample with Δ permuted: the control. */
  readonly permuted?: boolean;
}

/** Antidistillation sampling, ready for `createGenerator({ processors: [tilt(lambda)], companions })`. */
export interface Defence {
  /** The processor of a strength: λ weighs Δ in the units of the un-normalised gradient. */
  tilt(lambda: number): LogitsProcessor;
  readonly companions: readonly Companion[];
  /** Frees what was made for it: perturbed models or the direction; not the proxy model. */
  dispose(): void;
}

/** `model` is the proxy's, in memory; it stays the caller's. */
export function createDefence(model: LanguageModel, proxy: ProxyArtefact, options: DefenceOptions = {}): Defence {
  const { estimator = 'central', epsilon = proxy.epsilon, order = 'paper', permuted = false } = options;
  const { companions, dispose } = companionsOf(model, proxy, { estimator, epsilon });
  const { gradientNorm, lossNats, responseTokens } = proxy;
  const record = { gradientNorm, lossNats, responseTokens };
  return {
    tilt: (lambda) => createTilt({ lambda, estimator, epsilon, order, permuted, companions, proxy: record }),
    companions,
    dispose,
  };
}

function companionsOf(
  model: LanguageModel,
  proxy: ProxyArtefact,
  { estimator, epsilon }: { estimator: EstimatorKind; epsilon: number },
): Pick<Defence, 'companions' | 'dispose'> {
  if (estimator === 'jvp') {
    const direction = new Map<string, Tensor<'float32'>>();
    for (const [name, { shape }] of model.parameters) {
      direction.set(name, model.compiler.runtime.tensor('float32', shape, proxy.gradient.get(name)));
    }
    return {
      companions: [{ model, direction, runner: undefined }],
      dispose() {
        for (const tensor of direction.values()) tensor.dispose();
      },
    };
  }
  const forward = perturbedModel(model, proxy.gradient, epsilon);
  const backward = estimator === 'central' ? perturbedModel(model, proxy.gradient, -epsilon) : model;
  return {
    companions: [forward, backward].map((each) => ({ model: each, runner: undefined })),
    dispose() {
      forward.dispose();
      if (backward !== model) backward.dispose();
    },
  };
}
