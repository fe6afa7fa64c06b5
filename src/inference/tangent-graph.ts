/** Decoding with a tangent beside every value: how what a head reads moves when the parameters move along a direction. */
import { directionalDerivatives } from '../engine/autodiff/forward.js';
import type { GraphBuilder } from '../engine/graph/builder.js';
import { linear, logSoftmax, rmsNorm } from '../engine/graph/ops.js';
import type { TensorType, Value } from '../engine/graph/types.js';
import type { Tensor } from '../engine/runtime/types.js';
import type { TransformerConfig } from '../model/config.js';
import type { LanguageModel } from '../model/language-model.js';
import { FINAL_NORM, headParameterName } from '../model/parameters.js';
import { type CachedShape, cachedLayers } from './cached-layers.js';

/** Name of the tangent of a parameter or of a cache. */
export const tangentName = (name: string): string => `tangent.${name}`;

/**
 * One run of new tokens (see `cachedLayers`) with the direction `tangent.<parameter>` and the caches' tangents `tangent.cache.…`,
 * which are updated in place. With `isLast` (one new token a row) the outputs are the residual stream [B, C] as it leaves the layers and
 * tangent.stream [B, C] = d/dε stream(θ + ε·direction) at ε = 0; without, the caches alone.
 */
export function buildTangentGraph(
  g: GraphBuilder,
  config: TransformerConfig,
  shape: CachedShape,
  { isLast }: { isLast: boolean },
): void {
  const { weights, stream, caches } = cachedLayers(g, config, shape, undefined);
  const seedOf = (name: string, value: Value) => [value, g.input(tangentName(name), value.dtype, value.shape)] as const;
  const seeds = new Map<Value, Value>([
    ...[...weights].map(([name, value]) => seedOf(name, value)),
    ...caches.flatMap(({ names, before }) => [seedOf(names.keys, before.keys), seedOf(names.values, before.values)]),
  ]);
  const cacheTargets = caches.flatMap(({ names, after }) => [
    { name: names.keys, value: after.keys },
    { name: names.values, value: after.values },
  ]);
  const targets = [...cacheTargets.map(({ value }) => value), ...(isLast ? [stream] : [])];
  const derivatives = directionalDerivatives(g, targets, seeds);
  cacheTargets.forEach(({ name }, index) => {
    g.output(`${tangentName(name)}.next`, derivatives[index], { inPlaceOf: tangentName(name) });
  });
  if (!isLast) return;
  g.output('stream', stream);
  g.output(tangentName('stream'), derivatives[cacheTargets.length]);
}

/** The residual stream [B, C], the gain [C] of the norm that follows it and the head [V, C], each with its tangent. */
interface MovedHead<T> {
  readonly stream: T;
  readonly gain: T;
  readonly head: T;
  readonly tangentStream: T;
  readonly tangentGain: T;
  readonly tangentHead: T;
}

/** What `movedLogprobs` reads of a model, for B rows. */
export function movedHeadTypes({ vocabSize, hiddenSize }: TransformerConfig, batch: number): MovedHead<TensorType> {
  const typeOf = (...shape: number[]): TensorType => ({ dtype: 'float32', shape });
  const [stream, gain, head] = [typeOf(batch, hiddenSize), typeOf(hiddenSize), typeOf(vocabSize, hiddenSize)];
  return { stream, gain, head, tangentStream: stream, tangentGain: gain, tangentHead: head };
}

/** The same as tensors: `results` are those of a runner of the model along the direction. */
export function movedHeadTensors(
  { config, parameters }: Pick<LanguageModel, 'config' | 'parameters'>,
  direction: ReadonlyMap<string, Tensor<'float32'>>,
  results: Readonly<Record<string, Tensor<'float32'>>>,
): MovedHead<Tensor<'float32'>> {
  const headName = headParameterName(config);
  return {
    stream: results.stream,
    gain: parameters.get(FINAL_NORM)!,
    head: parameters.get(headName)!,
    tangentStream: results[tangentName('stream')],
    tangentGain: direction.get(FINAL_NORM)!,
    tangentHead: direction.get(headName)!,
  };
}

/** d/dε of the logits at θ + ε·direction, at ε = 0: [B, V], the logits being norm(stream)·headᵀ. */
export function movedLogits(g: GraphBuilder, config: TransformerConfig, source: MovedHead<Value>): Value {
  return derivativeOf(g, source, headOf(g, config, source));
}

/** d/dε ln p(· | tokens; θ + ε·direction) at ε = 0, [B, V], with p = softmax(logits): a constant of the row apart from the above. */
export function movedLogprobs(g: GraphBuilder, config: TransformerConfig, source: MovedHead<Value>): Value {
  return derivativeOf(g, source, logSoftmax(g, headOf(g, config, source)));
}

const headOf = (g: GraphBuilder, { rmsNormEps }: TransformerConfig, { stream, gain, head }: MovedHead<Value>): Value =>
  linear(g, rmsNorm(g, stream, gain, rmsNormEps), head);

function derivativeOf(g: GraphBuilder, source: MovedHead<Value>, value: Value): Value {
  const { stream, gain, head, tangentStream, tangentGain, tangentHead } = source;
  const seeds = [
    [stream, tangentStream],
    [gain, tangentGain],
    [head, tangentHead],
  ] as const;
  return directionalDerivatives(g, [value], new Map(seeds))[0];
}
