/** Decoding with a tangent beside every value: how log-probabilities move when the parameters move along a direction. */
import { directionalDerivatives } from '../engine/autodiff/forward.js';
import type { GraphBuilder } from '../engine/graph/builder.js';
import { logSoftmax } from '../engine/graph/ops.js';
import type { Value } from '../engine/graph/types.js';
import type { TransformerConfig } from '../model/config.js';
import { languageHead } from '../model/decoder.js';
import { type CachedShape, cachedLayers } from './cached-layers.js';

/** Name of the tangent of a parameter or of a cache. */
export const tangentName = (name: string): string => `tangent.${name}`;

/**
 * One run of new tokens (see `cachedLayers`) with the direction `tangent.<parameter>` and the caches' tangents `tangent.cache.…`,
 * which are updated in place. With `head` (one new token a row) the output is derivatives [B, V] = d/dε ln p(· | tokens; θ + ε·direction)
 * at ε = 0; without, the caches alone.
 */
export function buildTangentGraph(
  g: GraphBuilder,
  config: TransformerConfig,
  shape: CachedShape,
  { head }: { head: boolean },
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
  const logprobs = head ? [logSoftmax(g, languageHead(g, config, weights, hidden))] : [];
  const targets = [...cacheTargets.map(({ value }) => value), ...logprobs];
  const derivatives = directionalDerivatives(g, targets, seeds);
  cacheTargets.forEach(({ name }, index) => {
    g.output(`${tangentName(name)}.next`, derivatives[index], { inPlaceOf: tangentName(name) });
  });
  if (head) g.output('derivatives', derivatives[cacheTargets.length]);
}
