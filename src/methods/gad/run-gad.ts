/**
 * Generative adversarial distillation: a student learns from the text of a teacher alone, on its own responses.
 *
 * Differs from the paper: optimisers start afresh when the adversarial phase begins (there a second run); the reference of the KL is
 * the student as the warm-up left it; the best student is chosen on the validation split as the run goes on. See docs/gad.md.
 * @see arXiv 2511.10643
 */
import { deriveModel, type LanguageModel } from '../../model/language-model.js';
import { ConfigError, DataError } from '../../support/errors.js';
import { createRandom, deriveSeed } from '../../support/random.js';
import type { Tokenizer } from '../../tokenizer/types.js';
import { epochBatches, numResponseTokens, prepareExamples, type TrainingExample } from '../../training/batches.js';
import { findCheckpoint, loadCheckpoint, writeTrainingCheckpoint } from '../../training/checkpoint.js';
import type { Optimizer } from '../../training/optimizer.js';
import { identifyRun } from '../../training/run-setup.js';
import { learningRateAt } from '../../training/schedule.js';
import { type Alarm, findAlarms, type StepRow, type Validation } from './alarms.js';
import type { GadConfig } from './config.js';
import type { Discriminator } from './discriminator.js';
import { createDiscriminatorTrainer, groupStatistics, type ResponseGroup } from './discriminator-trainer.js';
import { openHistory } from './history.js';
import { groupAdvantages, mean, sampleStandardDeviation } from './losses.js';
import { planGad, planStep } from './plan.js';
import { createPolicyTrainer } from './policy-trainer.js';
import { createRolloutSampler } from './rollouts.js';

export interface GadHooks {
  /** Where checkpoints and the rows of steps go and are found again; without it there are none. */
  readonly folder?: string | undefined;
  /** Stops responses at its end-of-sequence tokens, and keeps ids that name no token from being drawn. */
  readonly tokenizer?: Tokenizer | undefined;
  /** Score on the validation split; decides which student is kept. */
  readonly evaluate?: ((student: LanguageModel, step: number) => Promise<Validation>) | undefined;
  readonly onStep?: ((row: StepRow, totalSteps: number) => void) | undefined;
  /** Told once for each kind. */
  readonly onAlarm?: ((alarm: Alarm) => void) | undefined;
  readonly log?: ((message: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface GadResult {
  /** The student with the highest validation score (the earliest of equals), where there was an evaluation; else the last. */
  readonly bestStep: number;
  readonly bestValidation: Validation | null;
  readonly numSteps: number;
  readonly totalSteps: number;
  readonly isComplete: boolean;
  readonly rows: readonly StepRow[];
  /** The first of each kind. */
  readonly alarms: readonly Alarm[];
}

/**
 * Trains the student in place on prompts with the teacher's responses (`rows`); at the end it holds the best weights. Stopped and run
 * again with the same folder it goes on from the last checkpoint; on one thread the result is the same bit for bit.
 * Errors: DataError for wrong rows, and where a loss is no longer finite; ConfigError for adapters; CheckpointError for another run's.
 */
export async function runGad(
  student: LanguageModel,
  discriminator: Discriminator,
  rows: readonly TrainingExample[],
  config: GadConfig,
  hooks: GadHooks = {},
): Promise<GadResult> {
  const { folder, log = () => undefined, signal } = hooks;
  if (student.lora !== undefined)
    throw new ConfigError('gad trains all weights of a student; merge its adapters first.');
  const { vocabSize, maxPositions } = student.config;
  const maxLength = Math.min(maxPositions, discriminator.maxLength);
  const { examples } = prepareExamples(rows, { vocabSize, maxLength, overlong: 'refuse' });
  const plan = planGad(config, examples.length);
  const { seed } = config;

  const copy = () => deriveModel(student, (_, source, into) => into.set(source));
  const reference = copy();
  const best = copy();
  // When it is evaluated decides which student is best.
  const identity = {
    ...config,
    method: 'gad',
    discriminatorKey: discriminator.key,
    evaluations: config.evaluateEverySteps,
  };
  const run = identifyRun(student, examples, identity);
  const critic = createDiscriminatorTrainer(discriminator, config, createRandom(deriveSeed(seed, 'spectral')));
  const policy = createPolicyTrainer(student, reference, config);
  const sampler = createRolloutSampler(student, { ...config, tokenizer: hooks.tokenizer });
  const state = {
    trained: new Map([
      ...named('student', student.parameters),
      ...named('reference', reference.parameters),
      ...named('best', best.parameters),
      ...named('discriminator', discriminator.parameters),
      ...named('discriminator', critic.spectral?.tensors ?? new Map()),
    ]),
    moments: new Map([
      ...named('student', policy.optimizer.moments),
      ...named('discriminator', critic.optimizer.moments),
    ]),
  };
  let step = 0;
  let numTokens = 0;
  let lastSaved = 0;
  let checkpoint: string | undefined;
  const found = folder === undefined ? undefined : await findCheckpoint(folder, run, log);
  if (found !== undefined) {
    loadCheckpoint(found, state);
    ({ step, numTokens } = found.state);
    lastSaved = step;
    checkpoint = found.folder;
    log(`Goes on from ${found.folder} (step ${step} of ${plan.totalSteps}).`);
  }
  const history = await openHistory(folder, step);
  restoreSteps(history.rows, { policy: policy.optimizer, critic: critic.optimizer, config });
  const alarms: Alarm[] = [];
  for (let end = 1; end <= history.rows.length; end++) addNew(alarms, findAlarms(history.rows.slice(0, end)));
  let bestRow = bestOf(history.rows);

  const save = async () => {
    if (folder === undefined || lastSaved === step) return;
    const { epoch, batchIndex } = planStep(config, plan, step + 1);
    checkpoint = await writeTrainingCheckpoint(
      folder,
      { step, position: { seed, epoch, batchIndex }, numTokens, run },
      { ...state, keep: config.keepCheckpoints },
    );
    lastSaved = step;
  };

  try {
    while (step < plan.totalSteps && signal?.aborted !== true) {
      step += 1;
      const { phase, epoch, batchIndex, updatesStudent, updatesDiscriminator } = planStep(config, plan, step);
      if (step === plan.warmupSteps + 1) startAdversarial(student, reference, [policy.optimizer, critic.optimizer]);
      const batch = epochBatches(examples, { batchSize: config.batchPrompts, seed, epoch })[batchIndex].map(
        (row) => examples[row],
      );
      const clock = createClock();

      // Without an update of the discriminator the warm-up is plain imitation: nobody asks what the student would say.
      const needsRollouts = phase === 'adversarial' || updatesDiscriminator;
      const prompts = batch.map(({ id, tokens, responseStart }) => ({ id, tokens: tokens.slice(0, responseStart) }));
      const groupSize = phase === 'warmup' ? config.warmup.groupSize : config.groupSize;
      const rollouts = needsRollouts
        ? await sampler.sample(prompts, { groupSize, seed: Number.parseInt(deriveSeed(seed, step).slice(0, 12), 16) })
        : [];
      const rolloutMs = clock();
      const groups: ResponseGroup[] = rollouts.map((students, at) => ({ teacher: batch[at], students }));
      const scores = await critic.score(groups);
      const judged = needsRollouts ? groupStatistics(config.discriminator.loss, scores) : undefined;
      const scoreMs = clock();

      const imitated =
        phase === 'warmup' && updatesStudent ? await policy.imitate(batch, warmupRate(config, plan, step)) : undefined;
      const reinforced =
        phase === 'adversarial'
          ? await policy.reinforce(
              rollouts.map((group, at) => {
                const advantages = groupAdvantages(scores[at].students);
                return group.map((rollout, index) => ({ ...rollout, advantage: advantages[index] }));
              }),
              config.learningRate,
            )
          : undefined;
      const studentMs = clock();
      const criticised = updatesDiscriminator ? await critic.update(groups, scores, step) : undefined;
      const discriminatorMs = clock();

      const isLast = step === plan.totalSteps;
      const isEvaluated =
        config.evaluateEverySteps > 0 &&
        (step % config.evaluateEverySteps === 0 || isLast || step === plan.warmupSteps);
      const drawn = rollouts.flat();
      const lengthOf = (all: readonly TrainingExample[]) => mean(all.map(numResponseTokens));
      const row: StepRow = {
        step,
        phase,
        epoch,
        rewardMean: meanOrNull(scores.flatMap(({ students }) => students)),
        teacherRewardMean: meanOrNull(scores.map(({ teacher }) => teacher)),
        groupRewardSpread: meanOrNull(scores.map(({ students }) => sampleStandardDeviation(students))),
        discriminatorLossNats: judged?.lossNats ?? null,
        discriminatorAccuracy: judged?.accuracy ?? null,
        discriminatorGradientNorm: criticised?.gradientNorm ?? null,
        studentLossNats: (imitated ?? reinforced)?.lossNats ?? null,
        studentGradientNorm: (imitated ?? reinforced)?.gradientNorm ?? null,
        klNats: reinforced?.klNats ?? null,
        clippedFraction: reinforced?.clippedFraction ?? null,
        samplingDifferenceNats: reinforced?.samplingDifferenceNats ?? null,
        entropyNats: meanOrNull(drawn.flatMap(({ logprobs }) => logprobs.map((logprob) => -logprob))),
        responseLength: meanOrNull(drawn.map(({ logprobs }) => logprobs.length)),
        teacherLength: lengthOf(batch),
        finishedFraction: meanOrNull(drawn.map(({ isFinished }) => Number(isFinished))),
        numTokens: drawn.reduce((sum, { logprobs }) => sum + logprobs.length, 0),
        rolloutMs,
        scoreMs,
        studentMs,
        discriminatorMs,
        validation: isEvaluated ? ((await hooks.evaluate?.(student, step)) ?? null) : null,
      };
      checkFinite(row, checkpoint);
      numTokens += row.numTokens;
      history.append(row);
      hooks.onStep?.(row, plan.totalSteps);
      for (const alarm of addNew(alarms, findAlarms(history.rows))) {
        log(alarm.message);
        hooks.onAlarm?.(alarm);
      }
      if (isBetter(row, bestRow)) {
        bestRow = row;
        copyParameters(student, best);
      }
      if (config.checkpointEverySteps > 0 && step % config.checkpointEverySteps === 0) await save();
    }
    await save();
    const isComplete = step >= plan.totalSteps;
    if (isComplete && bestRow !== undefined) copyParameters(best, student);
    return {
      bestStep: bestRow?.step ?? step,
      bestValidation: bestRow?.validation ?? null,
      numSteps: step,
      totalSteps: plan.totalSteps,
      isComplete,
      rows: history.rows,
      alarms,
    };
  } finally {
    history.close();
    for (const part of [critic, policy, sampler, reference, best]) part.dispose();
  }
}

const meanOrNull = (values: readonly number[]): number | null => (values.length === 0 ? null : mean(values));

const named = <T>(role: string, tensors: ReadonlyMap<string, T>): [string, T][] =>
  [...tensors].map(([name, tensor]) => [`${role}/${name}`, tensor]);

function copyParameters(from: LanguageModel, to: LanguageModel): void {
  for (const [name, { data }] of from.parameters) to.parameters.get(name)!.data.set(data);
}

/** The reference becomes the student as it is; optimisers forget. */
function startAdversarial(student: LanguageModel, reference: LanguageModel, optimizers: readonly Optimizer[]): void {
  copyParameters(student, reference);
  for (const optimizer of optimizers) {
    optimizer.step = 0;
    for (const { data } of optimizer.moments.values()) data.fill(0);
  }
}

/** Updates since the optimisers began: the bias corrections of Adam depend on them. */
function restoreSteps(
  rows: readonly StepRow[],
  { policy, critic, config }: { policy: Optimizer; critic: Optimizer; config: GadConfig },
): void {
  const phase = rows.at(-1)?.phase;
  const present = rows.filter((row) => row.phase === phase);
  const perStep = phase === 'adversarial' ? config.updatesPerRollout : 1;
  policy.step = perStep * present.filter(({ studentGradientNorm }) => studentGradientNorm !== null).length;
  critic.step = present.filter(({ discriminatorGradientNorm }) => discriminatorGradientNorm !== null).length;
}

function warmupRate(config: GadConfig, plan: { warmupSteps: number }, step: number): number {
  const { learningRate, schedule: kind, discriminatorOnlySteps, discriminator } = config.warmup;
  const alone = discriminator ? discriminatorOnlySteps : 0;
  const totalSteps = Math.max(1, plan.warmupSteps - alone);
  const schedule = { kind, learningRate, totalSteps, warmupSteps: Math.round(totalSteps / 20), finalFraction: 0.1 };
  return learningRateAt(schedule, step - alone);
}

/** Milliseconds since it was asked last. */
function createClock(): () => number {
  let since = performance.now();
  return () => {
    const before = since;
    since = performance.now();
    return since - before;
  };
}

/** Adds alarms of kinds that are not there yet, and gives them. */
function addNew(alarms: Alarm[], found: readonly Alarm[]): Alarm[] {
  const fresh = found.filter(({ kind }) => !alarms.some((known) => known.kind === kind));
  alarms.push(...fresh);
  return fresh;
}

const shareOf = ({ correct, total }: Validation): number => correct / total;

function isBetter(row: StepRow, best: StepRow | undefined): boolean {
  if (row.validation === null) return false;
  return best === undefined || shareOf(row.validation) > shareOf(best.validation!);
}

const bestOf = (rows: readonly StepRow[]): StepRow | undefined =>
  rows.reduce<StepRow | undefined>((best, row) => (isBetter(row, best) ? row : best), undefined);

function checkFinite(row: StepRow, checkpoint: string | undefined): void {
  const numbers = {
    'the loss of the student': row.studentLossNats ?? 0,
    'the gradient of the student': row.studentGradientNorm ?? 0,
    'the gradient of the discriminator': row.discriminatorGradientNorm ?? 0,
    'the reward': row.rewardMean ?? 0,
  };
  const [wrong] = Object.entries(numbers).find(([, value]) => !Number.isFinite(value)) ?? [];
  if (wrong === undefined) return;
  const saved = checkpoint === undefined ? 'There is no checkpoint yet' : `The last good checkpoint is ${checkpoint}`;
  throw new DataError(
    `Step ${row.step} (${row.phase}): ${wrong} is not a finite number. ${saved}. Lower learningRate, warmup.learningRate or discriminator.learningRate.`,
  );
}
