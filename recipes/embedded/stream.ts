/** Training on text that is made as it is read: every batch is new. */
import type { LanguageModel } from '../../src/model/language-model.js';
import { createOptimizer } from '../../src/training/optimizer.js';
import { learningRateAt, type Schedule } from '../../src/training/schedule.js';
import { createTrainingStep } from '../../src/training/step.js';
import { trainableSpecs } from '../../src/training/trainable.js';

/** A row and the weight of each of its tokens in the loss. */
export interface WeightedRow {
  readonly tokens: readonly number[];
  readonly weights: readonly number[];
}

export interface StreamOptions {
  readonly schedule: Omit<Schedule, 'totalSteps'> & { readonly totalSteps: number };
  readonly time: number;
  readonly rows: (step: number) => readonly WeightedRow[];
  readonly onStep?: (step: number, lossNats: number) => Promise<void> | void;
  readonly weightDecay?: number;
}

/** AdamW on −Σ w ln p / Σ w of each batch; all batches have as many rows. */
export async function trainOnStream(model: LanguageModel, options: StreamOptions): Promise<void> {
  const { schedule, time, rows, onStep, weightDecay = 0.01 } = options;
  const adamw = { beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weightDecay, gradientClip: 1 };
  const optimizer = createOptimizer(model.compiler.runtime, trainableSpecs(model.config), adamw);
  const trainingStep = createTrainingStep(model, optimizer, { ...adamw, checkpointing: false });
  try {
    for (let step = 1; step <= schedule.totalSteps; step++) {
      const batch = rows(step);
      const total = batch.reduce((sum, { weights }) => sum + weights.slice(1).reduce((a, b) => a + b, 0), 0);
      const part = {
        batch: batch.length,
        time,
        fill({ tokens, targets, weights }: { tokens: BigInt64Array; targets: BigInt64Array; weights: Float32Array }) {
          tokens.fill(0n);
          targets.fill(0n);
          weights.fill(0);
          for (const [row, example] of batch.entries()) {
            for (let index = 0; index + 1 < Math.min(example.tokens.length, time + 1); index++) {
              tokens[row * time + index] = BigInt(example.tokens[index]);
              targets[row * time + index] = BigInt(example.tokens[index + 1]);
              weights[row * time + index] = example.weights[index + 1] / total;
            }
          }
        },
      };
      const { lossNats } = await trainingStep.run([part], learningRateAt(schedule, step));
      await onStep?.(step, lossNats);
    }
  } finally {
    trainingStep.dispose();
    optimizer.dispose();
  }
}
