/** Floating-point operations a token, from a model's configuration. */
import type { TransformerConfig } from '../../model/config.js';
import { countParameters } from '../../model/parameters.js';

/** Of one more token with `context` before it: two a weight that multiplies, and four a context position and query channel. */
export function samplingFlop(config: TransformerConfig, context: number): number {
  const { vocabSize, hiddenSize, numLayers, numHeads, headSize, tiedHead } = config;
  // An embedding that is not the head too is looked up, not multiplied.
  const multiplying = countParameters(config) - (tiedHead ? 0 : vocabSize * hiddenSize);
  return 2 * multiplying + 4 * numLayers * numHeads * headSize * context;
}

/** Of a token of a training row of length `time`: forward, and twice as much backward; half of the context on average. */
export const trainingFlop = (config: TransformerConfig, time: number): number => 3 * samplingFlop(config, time / 2);
