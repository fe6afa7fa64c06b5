/** One step: sample, score, update the student, update the discriminator on the same samples. */

import { deriveSeed } from '../../support/random.js';
import { rougeL } from '../../support/sequence-overlap.js';
import { numResponseTokens, type TrainingExample } from '../../training/batches.js';
import { learningRateAt } from '../../training/schedule.js';
import type { StepRow } from './alarms.js';
import type { GadConfig } from './config.js';
import { groupStatistics, type ResponseGroup } from './discriminator-trainer.js';
import { groupAdvantages, mean, sampleStandardDeviation } from './losses.js';
import type { Participants } from './participants.js';
import { type GadPlan, planStep } from './plan.js';
import type { Rollout } from './rollouts.js';

/** What a step did, but for the score on the validation split, which comes after it. */
type StepNumbers = Omit<StepRow, 'validation'>;

/** Takes step 1 … totalSteps on the prompts of `batch` and the teacher's responses to them. */
export async function takeStep(
  step: number,
  batch: readonly TrainingExample[],
  {
    participants: { critic, policy, sampler },
    config,
    plan,
  }: { participants: Participants; config: GadConfig; plan: GadPlan },
): Promise<StepNumbers> {
  const { phase, epoch, updatesStudent, updatesDiscriminator } = planStep(config, plan, step);
  const clock = createClock();

  // Without an update of the discriminator the warm-up is plain imitation: nobody asks what the student would say.
  const needsRollouts = phase === 'adversarial' || updatesDiscriminator;
  const prompts = batch.map(({ id, tokens, responseStart }) => ({ id, tokens: tokens.slice(0, responseStart) }));
  const groupSize = phase === 'warmup' ? config.warmup.groupSize : config.groupSize;
  const seed = Number.parseInt(deriveSeed(config.seed, step).slice(0, 12), 16);
  const rollouts = needsRollouts ? await sampler.sample(prompts, { groupSize, seed }) : [];
  const rolloutMs = clock();
  const groups: ResponseGroup[] = rollouts.map((students, at) => ({ teacher: batch[at], students }));
  const scores = await critic.score(groups);
  const judged = needsRollouts ? groupStatistics(config.discriminator.loss, scores) : undefined;
  const scoreMs = clock();

  const imitated =
    phase === 'warmup' && updatesStudent ? await policy.imitate(batch, warmupRate(config, plan, step)) : undefined;
  const rewarded = () =>
    rollouts.map((group, at) => {
      const advantages = groupAdvantages(scores[at].students);
      return group.map((rollout, index) => ({ ...rollout, advantage: advantages[index] }));
    });
  const reinforced = phase === 'adversarial' ? await policy.reinforce(rewarded(), config.learningRate) : undefined;
  const studentMs = clock();
  const criticRate =
    (phase === 'warmup' ? config.warmup.discriminatorLearningRate : undefined) ?? config.discriminator.learningRate;
  const criticised = updatesDiscriminator
    ? await critic.update(groups, scores, { step, learningRate: criticRate })
    : undefined;
  const discriminatorMs = clock();

  const drawn = rollouts.flat();
  return {
    ...{ step, phase, epoch },
    rewardMean: meanOrNull(scores.flatMap(({ students }) => students)),
    teacherRewardMean: meanOrNull(scores.map(({ teacher }) => teacher)),
    groupRewardSpread: meanOrNull(scores.map(({ students }) => sampleStandardDeviation(students))),
    discriminatorLossNats: judged?.lossNats ?? null,
    discriminatorAccuracy: judged?.accuracy ?? null,
    discriminatorGradientNorm: criticised?.gradientNorm ?? null,
    studentLossNats: (imitated ?? reinforced)?.lossNats ?? null,
    studentGradientNorm: (imitated ?? reinforced)?.gradientNorm ?? null,
    studentUpdates: reinforced?.ratioRanges.length ?? (imitated === undefined ? 0 : 1),
    klNats: reinforced?.klNats ?? null,
    clippedFraction: reinforced?.clippedFraction ?? null,
    samplingDifferenceNats: reinforced?.samplingDifferenceNats ?? null,
    entropyNats: meanOrNull(drawn.flatMap(({ logprobs }) => logprobs.map((logprob) => -logprob))),
    responseLength: meanOrNull(drawn.map(({ logprobs }) => logprobs.length)),
    teacherLength: mean(batch.map(numResponseTokens)),
    finishedFraction: meanOrNull(drawn.map(({ isFinished }) => Number(isFinished))),
    rougeL: meanOrNull(rollouts.flatMap((group, at) => group.map((rollout) => overlapOf(rollout, batch[at])))),
    numTokens: drawn.reduce((sum, { logprobs }) => sum + logprobs.length, 0),
    ...{ rolloutMs, scoreMs, studentMs, discriminatorMs },
  };
}

/** ROUGE-L of a response to the teacher's, over tokens: no decoding, and the same for every language. */
function overlapOf(rollout: Rollout, teacher: TrainingExample): number {
  const responseOf = ({ tokens, responseStart }: Rollout | TrainingExample) => tokens.slice(responseStart);
  return rougeL(responseOf(rollout), responseOf(teacher));
}

function warmupRate(config: GadConfig, plan: GadPlan, step: number): number {
  const { learningRate, schedule: kind, finalFraction, discriminatorOnlySteps, discriminator } = config.warmup;
  const alone = discriminator ? discriminatorOnlySteps : 0;
  const totalSteps = Math.max(1, plan.warmupSteps - alone);
  const schedule = { kind, learningRate, totalSteps, warmupSteps: Math.round(totalSteps / 20), finalFraction };
  return learningRateAt(schedule, step - alone);
}

const meanOrNull = (values: readonly number[]): number | null => (values.length === 0 ? null : mean(values));

/** Milliseconds since it was asked last. */
function createClock(): () => number {
  let since = performance.now();
  return () => {
    const before = since;
    since = performance.now();
    return since - before;
  };
}
