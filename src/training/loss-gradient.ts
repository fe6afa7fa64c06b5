/** The gradient of a loss over a whole dataset: what an update would be made of, without the update. */
import type { Precision } from '../engine/onnx/emitter.js';
import type { Tensor } from '../engine/runtime/types.js';
import type { LanguageModel } from '../model/language-model.js';
import {
  fillMicroBatch,
  numResponseTokens,
  planMicroBatches,
  prepareExamples,
  type TrainingExample,
} from './batches.js';
import { createGradientAccumulator } from './gradient-accumulator.js';
import { chooseCheckpointing } from './run-setup.js';

export interface LossGradientOptions {
  /** Most tokens (padding included) computed at once; one row may exceed it. */
  readonly microBatchTokens: number;
  /** Of its products; default: float32, whatever the compiler's. */
  readonly precision?: Precision | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Response tokens done, at the start and after each micro-batch. */
  readonly onProgress?: ((doneTokens: number, totalTokens: number) => void) | undefined;
  readonly log?: ((message: string) => void) | undefined;
}

export interface LossGradient {
  readonly lossNats: number;
  /** Response tokens the loss is the mean of. */
  readonly numTokens: number;
  /** By parameter name; the caller disposes of them. */
  readonly gradient: ReadonlyMap<string, Tensor<'float32'>>;
}

/**
 * ℓ = (1/n) Σ −ln p(token | what stands before) over all n response tokens of all rows, and ∇ℓ in float32. Neither depends on the
 * order of the rows or how they share batches, but for rounding; of parts of the data, the means weighted by `numTokens` are the
 * whole's. Errors: DataError for rows that do not fit the model or hold no response token; the signal's reason.
 */
export async function lossGradient(
  model: LanguageModel,
  examples: readonly TrainingExample[],
  options: LossGradientOptions,
): Promise<LossGradient> {
  const { microBatchTokens, precision = 'float32', signal, onProgress, log = () => undefined } = options;
  const { vocabSize, maxPositions } = model.config;
  const prepared = prepareExamples(examples, { vocabSize, maxLength: maxPositions, overlong: 'refuse' }).examples;
  const tokensOf = (rows: readonly number[]) => rows.reduce((sum, row) => sum + numResponseTokens(prepared[row]), 0);
  const allRows = prepared.map((_, row) => row);
  const numTokens = tokensOf(allRows);
  const checkpointing = chooseCheckpointing(model, prepared, {
    config: { batchSize: prepared.length, microBatchTokens, activationCheckpointing: 'auto' },
    log,
  });
  const accumulator = createGradientAccumulator(model, { checkpointing, precision });
  let isDone = false;
  try {
    let lossNats = 0;
    let doneTokens = 0;
    onProgress?.(doneTokens, numTokens);
    for (const part of planMicroBatches(prepared, allRows, microBatchTokens)) {
      signal?.throwIfAborted();
      lossNats += await accumulator.add({
        batch: part.batch,
        time: part.time,
        fill: (arrays) => fillMicroBatch(prepared, part, { arrays, tokenWeight: 1 / numTokens }),
      });
      doneTokens += tokensOf(part.rows);
      onProgress?.(doneTokens, numTokens);
    }
    isDone = true;
    return { lossNats, numTokens, gradient: accumulator.gradients };
  } finally {
    accumulator.dispose({ keepGradients: isDone });
  }
}
