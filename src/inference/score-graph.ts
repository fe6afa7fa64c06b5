/** Log-probabilities of given tokens: the graphs. */
import type { GraphBuilder } from '../engine/graph/builder.js';
import { attention } from '../engine/graph/ops.js';
import type { TransformerConfig } from '../model/config.js';
import { attentionScale, declareDecoderInput, declareWeights, decoderHidden } from '../model/decoder.js';
import type { LoraConfig } from '../model/lora.js';
import { type CachedShape, cachedLayers } from './cached-layers.js';
import { scoreHead } from './score-head.js';

export interface ScoreShape {
  readonly batch: number;
  readonly time: number;
  /** Likeliest tokens reported at each position; 0 for none. */
  readonly topK: number;
}

/**
 * Inputs: parameters, cos, sin [T, D/2], positions [B, T], tokens [B·T], targets [B·T] (the next token of each). Outputs:
 * logprobs [B·T] = ln p(target | tokens so far); topIds and topLogprobs [B·T, k] if asked for.
 */
export function buildScoreGraph(
  g: GraphBuilder,
  config: TransformerConfig,
  { batch, time, topK }: ScoreShape,
  lora?: LoraConfig,
): void {
  const weights = declareWeights(g, config, lora);
  const input = declareDecoderInput(g, config, { batch, time, numPositions: time });
  const scale = attentionScale(config);
  const hidden = decoderHidden(g, config, weights, {
    input,
    options: { lora, attend: (_, { q, k, v }) => attention(g, q, k, v, scale) },
  });
  scoreHead(g, config, { weights, hidden }, topK);
}

/** The same of one chunk of one row against a cache: inputs of `cachedLayers` and targets [T]; the caches change in place. */
export function buildChunkScoreGraph(
  g: GraphBuilder,
  config: TransformerConfig,
  { topK, ...shape }: CachedShape & { readonly topK: number },
  lora?: LoraConfig,
): void {
  scoreHead(g, config, cachedLayers(g, config, shape, lora), topK);
}
