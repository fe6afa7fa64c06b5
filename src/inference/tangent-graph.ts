/** Decoding with a tangent beside every value: how what a head reads moves when the parameters move along a direction. */
import { directionalDerivatives } from '../engine/autodiff/forward.js';
import type { GraphBuilder } from '../engine/graph/builder.js';
import { linear, logSoftmax, select } from '../engine/graph/ops.js';
import type { Value } from '../engine/graph/types.js';
import type { TransformerConfig } from '../model/config.js';
import { type CachedShape, cachedLayers } from './cached-layers.js';
import { excluded } from './samplers/processor.js';

/** Name of the tangent of a parameter or of a cache. */
export const tangentName = (name: string): string => `tangent.${name}`;

/**
 * One run of new tokens (see `cachedLayers`) with the direction `tangent.<parameter>` and the caches' tangents `tangent.cache.…`,
 * which are updated in place. With `isLast` (one new token a row) the outputs are hidden [B, C], which a head reads, and tangent.hidden [B, C] =
 * d/dε hidden(θ + ε·direction) at ε = 0; without, the caches alone.
 */
export function buildTangentGraph(
  g: GraphBuilder,
  config: TransformerConfig,
  shape: CachedShape,
  { isLast }: { isLast: boolean },
): void {
  const { weights, hidden, caches } = cachedLayers(g, config, shape, undefined);
  const seedOf = (name: string, value: Value) => [value, g.input(tangentName(name), value.dtype, value.shape)] as const;
  const seeds = new Map<Value, Value>([
    ...[...weights].map(([name, value]) => seedOf(name, value)),
    ...caches.flatMap(({ names, before }) => [seedOf(names.keys, before.keys), seedOf(names.values, before.values)]),
  ]);
  const cacheTargets = caches.flatMap(({ names, after }) => [
    { name: names.keys, value: after.keys },
    { name: names.values, value: after.values },
  ]);
  const targets = [...cacheTargets.map(({ value }) => value), ...(isLast ? [hidden] : [])];
  const derivatives = directionalDerivatives(g, targets, seeds);
  cacheTargets.forEach(({ name }, index) => {
    g.output(`${tangentName(name)}.next`, derivatives[index], { inPlaceOf: tangentName(name) });
  });
  if (!isLast) return;
  g.output('hidden', hidden);
  g.output(tangentName('hidden'), derivatives[cacheTargets.length]);
}

/** Hidden states [B, C] and a head [V, C], each with its tangent. */
export interface MovedHead {
  readonly hidden: Value;
  readonly head: Value;
  readonly tangentHidden: Value;
  readonly tangentHead: Value;
}

/**
 * d/dε ln p(· | tokens; θ + ε·direction) at ε = 0, [B, V], with p = softmax(hidden·headᵀ). With a support (bool [B, V]) p is cut to it and
 * renormalised: in it the derivative differs by a constant of the row, outside it is that constant.
 */
export function movedLogprobs(g: GraphBuilder, source: MovedHead, support?: Value): Value {
  const { hidden, head, tangentHidden, tangentHead } = source;
  const scores = linear(g, hidden, head);
  const kept = support === undefined ? scores : select(g, support, scores, excluded(g));
  const seeds = new Map([
    [hidden, tangentHidden],
    [head, tangentHead],
  ]);
  return directionalDerivatives(g, [logSoftmax(g, kept)], seeds)[0];
}
