/** From a proxy and its gradient to what a generator samples with. */
import type { Tensor } from '../../engine/runtime/types.js';
import type { Companion } from '../../inference/companions.js';
import type { LogitsProcessor } from '../../inference/samplers/processor.js';
import { deriveModel, type LanguageModel } from '../../model/language-model.js';
import type { EstimatorKind } from './estimators.js';
import type { GradientReader, ProxyArtefact } from './proxy.js';
import { directionReader } from './small-panels.js';
import { createTilt } from './tilt.js';

export interface DefenceOptions {
  /** Default: jvp, the exact derivative, which has no step and bears bfloat16 (bench/results/derivative-error.md). */
  readonly estimator?: EstimatorKind;
  /** Step of a difference; default: the proxy's own. */
  readonly epsilon?: number | undefined;
  readonly order?: 'paper' | 'reference-code';
  /** Sample with Δ permuted: the control. */
  readonly permuted?: boolean;
  /** Reads the gradient a parameter at a time, so that it is not held beside what is made of it; default: from `proxy`. */
  readonly readGradient?: GradientReader | undefined;
  /** The model is no one else's: central differences then move it, instead of a second copy, and leave it moved. Default false. */
  readonly isOwn?: boolean | undefined;
  /** Ids that name another token in the teacher than in the proxy: their Δ is 0. Default none. */
  readonly unsharedIds?: readonly number[] | undefined;
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
  const {
    estimator = 'jvp',
    epsilon = proxy.epsilon,
    order = 'paper',
    permuted = false,
    isOwn = false,
    unsharedIds = [],
  } = options;
  const readGradient = options.readGradient ?? readerOf(proxy);
  const { companions, dispose } = companionsOf(model, readGradient, { estimator, epsilon, isOwn });
  const { gradientNorm, lossNats, responseTokens } = proxy;
  const record = {
    ...{ gradientNorm, lossNats, responseTokens },
    ...(unsharedIds.length > 0 && { numUnsharedIds: unsharedIds.length }),
  };
  return {
    tilt: (lambda) =>
      createTilt({ lambda, estimator, epsilon, order, permuted, companions, unsharedIds, proxy: record }),
    companions,
    dispose,
  };
}

/** A parameter without a gradient has 0. */
const readerOf =
  ({ gradient }: ProxyArtefact): GradientReader =>
  (name, into) => {
    const values = gradient.get(name);
    if (values === undefined) into.fill(0);
    else into.set(values);
  };

function companionsOf(
  model: LanguageModel,
  readGradient: GradientReader,
  { estimator, epsilon, isOwn }: { estimator: EstimatorKind; epsilon: number; isOwn: boolean },
): Pick<Defence, 'companions' | 'dispose'> {
  const made: { dispose(): void }[] = [];
  const dispose = () => {
    for (const each of made.splice(0)) each.dispose();
  };
  const keep = <T extends { dispose(): void }>(each: T): T => {
    made.push(each);
    return each;
  };
  try {
    if (estimator === 'jvp') {
      const { runtime, precision } = model.compiler;
      const readDirection = directionReader(model, precision, readGradient);
      const direction = new Map<string, Tensor<'float32'>>();
      for (const [name, { shape }] of model.parameters) {
        const read = (into: Float32Array) => readDirection(name, into);
        direction.set(name, keep(runtime.lazy(shape, read)));
      }
      return { companions: [{ model, direction, runner: undefined }], dispose };
    }
    const [forward, backward] = modelsOf(model, readGradient, { estimator, epsilon, isOwn });
    for (const each of [forward, backward]) if (each !== model) keep(each);
    // Steps of a difference are far below what bfloat16 resolves.
    const inFloat = (each: LanguageModel): Companion => ({ model: each, precision: 'float32', runner: undefined });
    return { companions: [forward, backward].map(inFloat), dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}

/** The two models of a difference, the one stepped forward first. Each copy holds the gradient while it is made. */
function modelsOf(
  model: LanguageModel,
  readGradient: GradientReader,
  { estimator, epsilon, isOwn }: { estimator: 'central' | 'forward'; epsilon: number; isOwn: boolean },
): readonly [LanguageModel, LanguageModel] {
  const moved = (step: number, movesBase: boolean) =>
    deriveModel(model, (name, source, into) => {
      readGradient(name, into);
      const base = movesBase ? model.parameters.get(name)!.data : undefined;
      for (let index = 0; index < into.length; index++) {
        const change = step * into[index];
        into[index] = source[index] + change;
        if (base !== undefined) base[index] -= change;
      }
    });
  if (estimator === 'forward') return [moved(epsilon, false), model];
  if (isOwn) return [moved(epsilon, true), model];
  const forward = moved(epsilon, false);
  try {
    return [forward, moved(-epsilon, false)];
  } catch (error) {
    forward.dispose();
    throw error;
  }
}
