/** From hidden states to scores: the graph. */
import type { GraphBuilder } from '../engine/graph/builder.js';
import { gatherElements, logSoftmax, reshape, topK } from '../engine/graph/ops.js';
import type { Value } from '../engine/graph/types.js';
import type { TransformerConfig } from '../model/config.js';
import { languageHead, type Weights } from '../model/decoder.js';

/**
 * Input targets [N] int64 (the token that follows each position). Outputs: logprobs [N] = ln p(target | tokens so far);
 * topIds and topLogprobs [N, k], likeliest first, if k > 0.
 */
export function scoreHead(
  g: GraphBuilder,
  config: TransformerConfig,
  { weights, hidden }: { weights: Weights; hidden: Value },
  k: number,
): void {
  const [numTokens] = hidden.shape;
  const targets = g.input('targets', 'int64', [numTokens]);
  const logprobs = logSoftmax(g, languageHead(g, config, weights, hidden)); // [N, V]
  g.output('logprobs', reshape(g, gatherElements(g, logprobs, reshape(g, targets, [numTokens, 1])), [numTokens]));
  if (k === 0) return;
  const top = topK(g, logprobs, k);
  g.output('topLogprobs', top.values);
  g.output('topIds', top.ids);
}
