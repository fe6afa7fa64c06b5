/** How much a step on each trace would lower the loss of traces that are known to be good. */
import { createDeltaEstimator } from '../../methods/antidistillation/estimators.js';
import type { LanguageModel } from '../../model/language-model.js';
import { numResponseTokens, type TrainingExample } from '../../training/batches.js';
import { lossGradient } from '../../training/loss-gradient.js';

/** ε·‖g‖ of the difference: where float32 leaves the smallest error in models of any size (docs/log.md). */
const STEP = 2e-3;
const MICRO_BATCH_TOKENS = 4096;

/**
 * ⟨∇ℓᵢ, g⟩ for each example i, g the gradient of the clean examples' loss, by a central difference of ℓᵢ along g, in float32:
 * (ℓᵢ(θ + εg) − ℓᵢ(θ − εg)) / 2ε, which is −Δ of its tokens. Losses are means over response tokens. Positive: learning from i helps.
 */
export async function benefitsOf(
  model: LanguageModel,
  examples: readonly TrainingExample[],
  { clean, signal }: { clean: readonly TrainingExample[]; signal?: AbortSignal | undefined },
): Promise<number[]> {
  const { gradient: tensors } = await lossGradient(model, clean, { microBatchTokens: MICRO_BATCH_TOKENS, signal });
  const gradient = new Map([...tensors].map(([name, { data }]) => [name, data.slice()]));
  for (const tensor of tensors.values()) tensor.dispose();
  let square = 0;
  for (const values of gradient.values()) for (const value of values) square += value * value;
  const epsilon = STEP / Math.sqrt(square);
  const estimator = createDeltaEstimator(model, gradient, { kind: 'central', epsilon });
  try {
    const numbers = await estimator.estimate(examples, { signal });
    return numbers.map(({ values }, index) => {
      const { responseStart } = examples[index];
      const sum = values.slice(Math.max(1, responseStart)).reduce((total: number, each) => total + (each ?? 0), 0);
      return -sum / Math.max(1, numResponseTokens(examples[index]));
    });
  } finally {
    estimator.dispose();
  }
}
