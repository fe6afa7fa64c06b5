/** One new token a row: the graph. */

import type { GraphBuilder } from '../engine/graph/builder.js';
import type { Precision } from '../engine/onnx/emitter.js';
import type { TransformerConfig } from '../model/config.js';
import { languageHead } from '../model/decoder.js';
import type { LoraConfig } from '../model/lora.js';
import { cachedLayers } from './cached-layers.js';

export interface DecodeShape {
  readonly batch: number;
  readonly capacity: number;
  /** Of the cache; default float32. */
  readonly precision?: Precision | undefined;
}

/**
 * Inputs: those of `cachedLayers` with T = 1; lengths count the new token. Outputs: the caches in place and logits [B, V] of
 * what follows it.
 */
export function buildDecodeGraph(
  g: GraphBuilder,
  config: TransformerConfig,
  { batch, capacity, precision }: DecodeShape,
  lora: LoraConfig | undefined,
): void {
  const { weights, hidden } = cachedLayers(g, config, { batch, time: 1, capacity, firstChunk: false, precision }, lora);
  g.output('logits', languageHead(g, config, weights, hidden));
}
