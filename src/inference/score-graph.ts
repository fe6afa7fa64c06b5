/** Log-probabilities of given tokens: the graph. */
import type { GraphBuilder } from '../engine/graph/builder.js';
import { attention, gatherElements, logSoftmax, reshape, topK } from '../engine/graph/ops.js';
import type { TransformerConfig } from '../model/config.js';
import { attentionScale, declareWeights, decoderHidden, languageHead } from '../model/decoder.js';
import type { LoraConfig } from '../model/lora.js';

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
  { batch, time, topK: k }: ScoreShape,
  lora?: LoraConfig,
): void {
  const numTokens = batch * time;
  const weights = declareWeights(g, config, lora);
  const input = {
    tokens: g.input('tokens', 'int64', [numTokens]),
    positions: g.input('positions', 'int64', [batch, time]),
    cos: g.input('cos', 'float32', [time, config.headSize / 2]),
    sin: g.input('sin', 'float32', [time, config.headSize / 2]),
  };
  const targets = g.input('targets', 'int64', [numTokens]);
  const scale = attentionScale(config);
  const hidden = decoderHidden(g, config, weights, {
    input,
    options: { lora, attend: (_, { q, k: keys, v }) => attention(g, q, keys, v, scale) },
  });
  const logprobs = logSoftmax(g, languageHead(g, config, weights, hidden)); // [B·T, V]
  g.output('logprobs', reshape(g, gatherElements(g, logprobs, reshape(g, targets, [numTokens, 1])), [numTokens]));
  if (k === 0) return;
  const top = topK(g, logprobs, k);
  g.output('topLogprobs', top.values);
  g.output('topIds', top.ids);
}
