/** A training step on random rows, as the training loop makes it: of all weights, or of adapters of `rank` on every linear layer. */
import type { Compiler } from '../../src/engine/compiler.js';
import type { TransformerConfig } from '../../src/model/config.js';
import { withLora } from '../../src/model/language-model.js';
import { LORA_MODULES } from '../../src/model/lora.js';
import { createRandom } from '../../src/support/random.js';
import type { StepInput } from '../../src/training/bound-batches.js';
import { createOptimizer } from '../../src/training/optimizer.js';
import { createTrainingStep } from '../../src/training/step.js';
import { trainableSpecs } from '../../src/training/trainable.js';
import { randomModel, randomTokens } from './session.js';

const ADAMW = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, gradientClip: 1 };
const LEARNING_RATE = 1e-3;

export interface Trainer {
  /** One step on `batch` rows of `time` tokens; the loss in nats. */
  step(): Promise<number>;
  dispose(): void;
}

export function createTrainer(
  compiler: Compiler,
  { config, batch, time, rank }: { config: TransformerConfig; batch: number; time: number; rank?: number | undefined },
): Trainer {
  const lora = rank === undefined ? undefined : { rank, alpha: 2 * rank, targetModules: [...LORA_MODULES] };
  const base = randomModel(compiler, config);
  const model = lora === undefined ? base : withLora(base, lora, { random: createRandom(4) });
  const optimizer = createOptimizer(compiler.runtime, trainableSpecs(config, lora), ADAMW);
  const training = createTrainingStep(model, optimizer, { ...ADAMW, checkpointing: false });
  const numTokens = batch * time;
  const ids = (seed: number) => BigInt64Array.from(randomTokens(numTokens, config.vocabSize, seed), BigInt);
  const [tokens, targets] = [ids(2), ids(3)];
  const part: StepInput = {
    batch,
    time,
    fill(arrays) {
      arrays.tokens.set(tokens);
      arrays.targets.set(targets);
      arrays.weights.fill(1 / numTokens);
    },
  };
  return {
    step: async () => (await training.run([part], LEARNING_RATE)).lossNats,
    dispose() {
      training.dispose();
      optimizer.dispose();
      model.dispose();
    },
  };
}
