/** Prompt tokens into the cache: the graph. */
import type { GraphBuilder } from '../engine/graph/builder.js';
import type { TransformerConfig } from '../model/config.js';
import type { LoraConfig } from '../model/lora.js';
import { type CachedShape, cachedLayers } from './cached-layers.js';

/**
 * Inputs: those of `cachedLayers`. Outputs: the caches alone; the head is left out. First chunks take several rows, padded on
 * the right; a later chunk takes one, and its padding counts in `lengths` (what it writes is overwritten before it is read).
 */
export function buildPrefillGraph(
  g: GraphBuilder,
  config: TransformerConfig,
  shape: CachedShape,
  lora: LoraConfig | undefined,
): void {
  cachedLayers(g, config, shape, lora);
}
