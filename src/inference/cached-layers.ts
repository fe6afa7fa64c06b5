/** The decoder against a key/value cache that it extends in place. */

import type { GraphBuilder } from '../engine/graph/builder.js';
import type { Value } from '../engine/graph/types.js';
import type { Precision } from '../engine/onnx/emitter.js';
import type { TransformerConfig } from '../model/config.js';
import { attentionScale, declareDecoderInput, declareWeights, decoderHidden, type Weights } from '../model/decoder.js';
import type { LoraConfig } from '../model/lora.js';
import { cacheLayout, cacheNames } from './kv-cache.js';

export interface CachedShape {
  readonly batch: number;
  /** New tokens of each row. */
  readonly time: number;
  /** Tokens a slot of the cache holds. */
  readonly capacity: number;
  /** Several new tokens that start at position 0. */
  readonly firstChunk: boolean;
  /** Of the cache; default float32. */
  readonly precision?: Precision | undefined;
}

/** A layer's keys and values as they come in and as they leave. */
export interface LayerCache {
  readonly names: { readonly keys: string; readonly values: string };
  readonly before: { readonly keys: Value; readonly values: Value };
  readonly after: { readonly keys: Value; readonly values: Value };
}

/**
 * Declares parameters, tokens [B·T] int64, positions [B, T] int64, lengths [B] int32 and total [1] int32 (see
 * `cachedAttention`), cos and sin [S, D/2] and the caches, which become outputs in place. Gives the weights, the residual stream [B·T, C] as it
 * leaves the layers, the final hidden states [B·T, C], which are its norm, and the caches.
 */
export function cachedLayers(
  g: GraphBuilder,
  config: TransformerConfig,
  { batch, time, capacity, firstChunk, precision = 'float32' }: CachedShape,
  lora: LoraConfig | undefined,
): { weights: Weights; stream: Value; hidden: Value; caches: readonly LayerCache[] } {
  const { numLayers, numKvHeads, dtype, width } = cacheLayout(config, precision);
  const weights = declareWeights(g, config, lora);
  const input = declareDecoderInput(g, config, { batch, time, numPositions: capacity });
  const lengths = g.input('lengths', 'int32', [batch]);
  const total = g.input('total', 'int32', [1]);
  const cacheShape = [batch, numKvHeads, capacity, width];
  const caches = Array.from({ length: numLayers }, (_, layer) => {
    const names = cacheNames(layer);
    return {
      names,
      keys: g.input(names.keys, dtype, cacheShape),
      values: g.input(names.values, dtype, cacheShape),
    };
  });
  const done: LayerCache[] = [];
  const streams: Value[] = [];
  const params = { scale: attentionScale(config), firstChunk };
  const hidden = decoderHidden(g, config, weights, {
    input,
    options: {
      lora,
      onLayer: (_, x) => void streams.push(x),
      attend(layer, { q, k, v }) {
        const { names, keys, values } = caches[layer];
        const [o, newKeys, newValues] = g.apply('cachedAttention', [q, k, v, keys, values, lengths, total], params);
        g.output(`${names.keys}.next`, newKeys, { inPlaceOf: names.keys });
        g.output(`${names.values}.next`, newValues, { inPlaceOf: names.values });
        done.push({ names, before: { keys, values }, after: { keys: newKeys, values: newValues } });
        return o;
      },
    },
  });
  return { weights, stream: streams.at(-1)!, hidden, caches: done };
}
