/** Updates of the student: towards the teacher's responses, and towards those of its own that were rewarded. */
import type { LanguageModel } from '../../model/language-model.js';
import {
  type BatchArrays,
  fillMicroBatch,
  type MicroBatch,
  numResponseTokens,
  planMicroBatches,
  type TrainingExample,
} from '../../training/batches.js';
import type { NamedArrays } from '../../training/bound-batches.js';
import { createForwardPass } from '../../training/forward-pass.js';
import { crossEntropy, languageModelObjective } from '../../training/objective.js';
import { createOptimizer, type Optimizer } from '../../training/optimizer.js';
import { createObjectiveStep, type StepResult } from '../../training/step.js';
import { trainableSpecs } from '../../training/trainable.js';
import type { GadConfig } from './config.js';
import { policyLoss, targetLogprobs } from './policy-loss.js';
import type { Rollout } from './rollouts.js';

/** A rollout with what it was worth. */
interface RewardedRollout extends Rollout {
  readonly advantage: number;
}

interface PolicyUpdate extends StepResult {
  /** Mean over response tokens of the k3 estimate of KL(student ‖ reference), before the update. */
  readonly klNats: number;
  /** Share of tokens whose ratio the clipping cut off. */
  readonly clippedFraction: number;
  /** Largest |ln π of training − ln π of sampling| over the tokens of the first update. */
  readonly samplingDifferenceNats: number;
}

export interface PolicyTrainer {
  readonly optimizer: Optimizer;
  /** One step of cross-entropy on responses. */
  imitate(examples: readonly TrainingExample[], learningRate: number): Promise<StepResult>;
  /** One or more updates on rollouts (`updatesPerRollout`), each on as many prompts' groups. */
  reinforce(groups: readonly (readonly RewardedRollout[])[], learningRate: number): Promise<PolicyUpdate>;
  dispose(): void;
}

/** The student is updated in place; `reference` stays as it is. */
export function createPolicyTrainer(
  student: LanguageModel,
  reference: LanguageModel,
  config: GadConfig,
): PolicyTrainer {
  const { temperature, microBatchTokens, klWeight, clipFraction } = config;
  const optimizer = createOptimizer(student.compiler.runtime, trainableSpecs(student.config, student.lora), config);
  const plain = { checkpointing: false };
  const imitation = createObjectiveStep<BatchArrays>(
    languageModelObjective(student, crossEntropy, plain),
    optimizer,
    config,
  );
  const policy = createObjectiveStep<BatchArrays & NamedArrays>(
    languageModelObjective(student, policyLoss(config), plain),
    optimizer,
    config,
  );
  const referencePass = createForwardPass(languageModelObjective(reference, targetLogprobs(temperature), plain));

  const planned = (examples: readonly TrainingExample[]) =>
    planMicroBatches(
      examples,
      examples.map((_, row) => row),
      microBatchTokens,
    );

  /** ln π_ref of each response token; without a KL nobody asks. */
  const referenceLogprobs = async (examples: readonly TrainingExample[]): Promise<Float32Array[]> => {
    const found: Float32Array[] = examples.map((row) => new Float32Array(numResponseTokens(row)));
    if (klWeight === 0) return found;
    for (const part of planned(examples)) {
      await referencePass.run({
        batch: part.batch,
        time: part.time,
        fill: (arrays) => fillMicroBatch(examples, part, { arrays, tokenWeight: 0 }),
        read: ({ logprobs }) =>
          eachRow(examples, part, (row, from, count) => {
            found[row].set((logprobs as Float32Array).subarray(from, from + count));
          }),
      });
    }
    return found;
  };

  const update = async (groups: readonly (readonly RewardedRollout[])[], learningRate: number) => {
    const rollouts = groups.flat();
    const examples = rollouts.map(({ tokens, responseStart }, row) => ({ id: String(row), tokens, responseStart }));
    const references = await referenceLogprobs(examples);
    const numTokens = examples.reduce((sum, row) => sum + numResponseTokens(row), 0);
    const seen = { klNats: 0, numClipped: 0, differenceNats: 0 };
    const parts = planned(examples).map((part) => ({
      batch: part.batch,
      time: part.time,
      fill(arrays: BatchArrays & NamedArrays) {
        fillMicroBatch(examples, part, { arrays, tokenWeight: 1 / numTokens });
        const [advantages, old, of] = ['advantages', 'oldLogprobs', 'referenceLogprobs'].map((name) =>
          (arrays[name] as Float32Array).fill(0),
        );
        eachRow(examples, part, (row, from, count) => {
          advantages.fill(rollouts[row].advantage, from, from + count);
          old.set(rollouts[row].logprobs, from);
          of.set(references[row], from);
        });
      },
      read({ logprobs }: NamedArrays) {
        eachRow(examples, part, (row, from, count) => {
          const { logprobs: drawn, advantage } = rollouts[row];
          for (let index = 0; index < count; index++) {
            const now = Number(logprobs[from + index]);
            const change = Math.exp(now - drawn[index]) - 1;
            if (advantage > 0 ? change > clipFraction : change < -clipFraction) seen.numClipped += 1;
            seen.differenceNats = Math.max(seen.differenceNats, Math.abs(now - drawn[index]));
            const d = references[row][index] - now;
            if (klWeight > 0) seen.klNats += Math.exp(d) - d - 1;
          }
        });
      },
    }));
    const result = await policy.run(parts, learningRate);
    return { ...result, ...seen, numTokens };
  };

  return {
    optimizer,
    async imitate(examples, learningRate) {
      const numTokens = examples.reduce((sum, row) => sum + numResponseTokens(row), 0);
      const parts = planned(examples).map((part) => ({
        batch: part.batch,
        time: part.time,
        fill: (arrays: BatchArrays) => fillMicroBatch(examples, part, { arrays, tokenWeight: 1 / numTokens }),
      }));
      return imitation.run(parts, learningRate);
    },
    async reinforce(groups, learningRate) {
      const size = Math.ceil(groups.length / config.updatesPerRollout);
      const updates: Awaited<ReturnType<typeof update>>[] = [];
      for (let start = 0; start < groups.length; start += size) {
        updates.push(await update(groups.slice(start, start + size), learningRate));
      }
      const numTokens = updates.reduce((sum, one) => sum + one.numTokens, 0);
      const perToken = (of: (one: Awaited<ReturnType<typeof update>>) => number) =>
        updates.reduce((sum, one) => sum + of(one), 0) / numTokens;
      return {
        lossNats: perToken((one) => one.lossNats * one.numTokens),
        gradientNorm: Math.max(...updates.map((one) => one.gradientNorm)),
        klNats: perToken((one) => one.klNats),
        clippedFraction: perToken((one) => one.numClipped),
        samplingDifferenceNats: updates[0].differenceNats,
      };
    },
    dispose() {
      for (const part of [imitation, policy, referencePass, optimizer]) part.dispose();
    },
  };
}

/** Each row of a part with the position of its first prediction of a response token in the batch, and their number. */
function eachRow(
  examples: readonly TrainingExample[],
  part: MicroBatch,
  visit: (row: number, from: number, count: number) => void,
): void {
  part.rows.forEach((row, at) => {
    const count = numResponseTokens(examples[row]);
    visit(row, at * part.time + examples[row].tokens.length - 1 - count, count);
  });
}
