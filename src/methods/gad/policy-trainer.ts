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
import { createForwardPass, type ForwardPass } from '../../training/forward-pass.js';
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
  /** Largest |ln π_old of training − ln π_old of sampling|: how far the kernels of rollouts and of training round apart. */
  readonly samplingDifferenceNats: number;
  /** Least and greatest ratio π/π_old of each update, before it. Of the first both are 1. */
  readonly ratioRanges: readonly (readonly [least: number, greatest: number])[];
}

export interface PolicyTrainer {
  readonly optimizer: Optimizer;
  /** One step of cross-entropy on responses. */
  imitate(examples: readonly TrainingExample[], learningRate: number): Promise<StepResult>;
  /**
   * One or more updates on rollouts (`updatesPerRollout`), each on as many prompts' groups. π_old is the student before the first, as
   * the kernels of training compute it: the first update needs no more than its own pass, the groups of later ones a forward pass.
   */
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
  const scoring = targetLogprobs(temperature);
  const referencePass = createForwardPass(languageModelObjective(reference, scoring, plain));
  const studentPass = createForwardPass(languageModelObjective(student, scoring, plain));

  const planned = (examples: readonly TrainingExample[]) =>
    planMicroBatches(
      examples,
      examples.map((_, row) => row),
      microBatchTokens,
    );

  /** ln π of each response token, in the micro-batches of an update on these rows: there its bits are the same. */
  const logprobsOf = async (pass: ForwardPass, examples: readonly TrainingExample[]): Promise<Float32Array[]> => {
    const found = examples.map((row) => new Float32Array(numResponseTokens(row)));
    for (const part of planned(examples)) {
      await pass.run({
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

  /** `old`: ln π_old of each response token; undefined where that is the student as it stands. */
  const update = async (
    {
      rollouts,
      examples,
      old,
    }: {
      rollouts: readonly RewardedRollout[];
      examples: readonly TrainingExample[];
      old: readonly Float32Array[] | undefined;
    },
    learningRate: number,
  ) => {
    // Without a KL nobody asks.
    const references = klWeight === 0 ? undefined : await logprobsOf(referencePass, examples);
    const numTokens = examples.reduce((sum, row) => sum + numResponseTokens(row), 0);
    const seen = { klNats: 0, numClipped: 0, differenceNats: 0, least: Number.POSITIVE_INFINITY, greatest: 0 };
    const parts = planned(examples).map((part) => ({
      batch: part.batch,
      time: part.time,
      fill(arrays: BatchArrays & NamedArrays) {
        fillMicroBatch(examples, part, { arrays, tokenWeight: 1 / numTokens });
        const [advantages, oldLogprobs, referenceLogprobs] = ['advantages', 'oldLogprobs', 'referenceLogprobs'].map(
          (name) => (arrays[name] as Float32Array).fill(0),
        );
        (arrays.isOnPolicy as Float32Array)[0] = old === undefined ? 1 : 0;
        eachRow(examples, part, (row, from, count) => {
          advantages.fill(rollouts[row].advantage, from, from + count);
          if (old !== undefined) oldLogprobs.set(old[row], from);
          if (references !== undefined) referenceLogprobs.set(references[row], from);
        });
      },
      read(outputs: NamedArrays) {
        const [logprobs, ratios] = [outputs.logprobs as Float32Array, outputs.ratios as Float32Array];
        eachRow(examples, part, (row, from, count) => {
          const { logprobs: drawn, advantage } = rollouts[row];
          for (let index = 0; index < count; index++) {
            const [now, ratio] = [logprobs[from + index], ratios[from + index]];
            if (advantage > 0 ? ratio > 1 + clipFraction : ratio < 1 - clipFraction) seen.numClipped += 1;
            seen.least = Math.min(seen.least, ratio);
            seen.greatest = Math.max(seen.greatest, ratio);
            const before = old === undefined ? now : old[row][index];
            seen.differenceNats = Math.max(seen.differenceNats, Math.abs(before - drawn[index]));
            if (references === undefined) continue;
            const d = references[row][index] - now;
            seen.klNats += Math.exp(d) - d - 1;
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
      const slices: Parameters<typeof update>[0][] = [];
      for (let start = 0; start < groups.length; start += size) {
        const rollouts = groups.slice(start, start + size).flat();
        const examples = rollouts.map(({ tokens, responseStart }, row) => ({ id: String(row), tokens, responseStart }));
        const old = start === 0 ? undefined : await logprobsOf(studentPass, examples);
        slices.push({ rollouts, examples, old });
      }
      const updates: Awaited<ReturnType<typeof update>>[] = [];
      for (const each of slices) updates.push(await update(each, learningRate));
      const numTokens = updates.reduce((sum, one) => sum + one.numTokens, 0);
      const perToken = (of: (one: Awaited<ReturnType<typeof update>>) => number) =>
        updates.reduce((sum, one) => sum + of(one), 0) / numTokens;
      return {
        lossNats: perToken((one) => one.lossNats * one.numTokens),
        gradientNorm: Math.max(...updates.map((one) => one.gradientNorm)),
        klNats: perToken((one) => one.klNats),
        clippedFraction: perToken((one) => one.numClipped),
        samplingDifferenceNats: Math.max(...updates.map((one) => one.differenceNats)),
        ratioRanges: updates.map(({ least, greatest }) => [least, greatest] as const),
      };
    },
    dispose() {
      for (const part of [imitation, policy, referencePass, studentPass, optimizer]) part.dispose();
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
