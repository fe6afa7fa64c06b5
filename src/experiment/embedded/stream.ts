/** Training on text that is made as it is read: every batch is new. */
import type { LanguageModel } from '../../model/language-model.js';
import { fillMicroBatch, lossWeight, type TrainingExample } from '../../training/batches.js';
import { createOptimizer } from '../../training/optimizer.js';
import { learningRateAt, type Schedule } from '../../training/schedule.js';
import { createTrainingStep } from '../../training/step.js';
import { trainableSpecs } from '../../training/trainable.js';

export interface StreamOptions {
  readonly schedule: Schedule;
  /** Predictions of a row, padding included. */
  readonly time: number;
  /** The rows of a step, 1 … totalSteps; as many in each. */
  readonly rows: (step: number) => readonly TrainingExample[];
  readonly onStep?: ((step: number, lossNats: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const ADAMW = { beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weightDecay: 0.01, gradientClip: 1 };

/**
 * AdamW on −Σ w ln p / Σ w of each batch, in float32 whatever the run computes in: a seed stands for the same weights everywhere.
 * Errors: the signal's reason, between two steps.
 */
export async function trainOnStream(model: LanguageModel, options: StreamOptions): Promise<void> {
  const { schedule, time, rows, onStep, signal } = options;
  const optimizer = createOptimizer(model.compiler.runtime, trainableSpecs(model.config), ADAMW);
  const trainingStep = createTrainingStep(model, optimizer, {
    ...ADAMW,
    checkpointing: false,
    precision: 'float32',
  });
  try {
    for (let step = 1; step <= schedule.totalSteps; step++) {
      signal?.throwIfAborted();
      const examples = rows(step);
      const part = { rows: examples.map((_, row) => row), batch: examples.length, time };
      const tokenWeight = 1 / examples.reduce((sum, example) => sum + lossWeight(example), 0);
      const { lossNats } = await trainingStep.run(
        [{ ...part, fill: (arrays) => fillMicroBatch(examples, part, { arrays, tokenWeight }) }],
        learningRateAt(schedule, step),
      );
      onStep?.(step, lossNats);
    }
  } finally {
    trainingStep.dispose();
    optimizer.dispose();
  }
}
