/**
 * Generative adversarial distillation: a student learns from the text of a teacher alone, on its own responses.
 *
 * Differs from the paper: optimisers start afresh when the adversarial phase begins (there a second run); the reference of the KL is
 * the student as the warm-up left it; the best student is chosen on the validation split as the run goes on. See docs/gad.md.
 * @see arXiv 2511.10643
 */
import type { LanguageModel } from '../../model/language-model.js';
import { DataError } from '../../support/errors.js';
import type { Tokenizer } from '../../tokenizer/types.js';
import { epochBatches, prepareExamples, type TrainingExample } from '../../training/batches.js';
import { findCheckpoint, loadCheckpoint, writeTrainingCheckpoint } from '../../training/checkpoint.js';
import { identifyRun } from '../../training/run-setup.js';
import { type Alarm, findAlarms, type StepRow, type Validation } from './alarms.js';
import type { GadConfig } from './config.js';
import type { Discriminator } from './discriminator.js';
import { openHistory } from './history.js';
import { createParticipants } from './participants.js';
import { planGad, planStep } from './plan.js';
import { bestOf, isBetter } from './selection.js';
import { takeStep } from './step.js';

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

/** Largest difference between the log-probabilities of sampling and of training that rounding explains. */
const LARGEST_DIFFERENCE_NATS = { float32: 1e-4, bfloat16: 3 } as const;

/**
 * Trains the student in place on prompts with the teacher's responses (`rows`); at the end it holds the best weights. Of a student
 * with adapters these alone are trained. Stopped and run again with the same folder it goes on from the last checkpoint; on one thread the
 * result is the same bit for bit.
 * Errors: DataError for wrong rows, and where a loss is no longer finite; CheckpointError for another run's.
 */
export async function runGad(
  student: LanguageModel,
  discriminator: Discriminator,
  rows: readonly TrainingExample[],
  config: GadConfig,
  hooks: GadHooks = {},
): Promise<GadResult> {
  const { folder, log = () => undefined, signal, tokenizer } = hooks;
  const { precision } = student.compiler;
  const { vocabSize, maxPositions } = student.config;
  const maxLength = Math.min(maxPositions, discriminator.maxLength);
  const { examples } = prepareExamples(rows, { vocabSize, maxLength, overlong: 'refuse' });
  const plan = planGad(config, examples.length);
  const { seed, evaluateEverySteps } = config;
  // When it is evaluated decides which student is best.
  const identity = {
    ...{ ...config, method: 'gad', discriminatorKey: discriminator.key, evaluations: evaluateEverySteps },
    ...(precision !== 'float32' && { precision }),
  };
  const run = identifyRun(student, examples, identity);
  const participants = createParticipants(student, discriminator, { config, tokenizer });
  const { state } = participants;

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
  participants.restoreSteps(history.rows);
  const alarms: Alarm[] = [];
  for (let end = 1; end <= history.rows.length; end++) addNew(alarms, findAlarms(history.rows.slice(0, end)));
  let bestRow = bestOf(history.rows);
  let hasToldDifference = false;

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
      if (step === plan.warmupSteps + 1) {
        if (config.warmup.keepsBest && bestRow !== undefined) participants.takeBest();
        participants.startAdversarial();
      }
      const { epoch, batchIndex } = planStep(config, plan, step);
      const batches = epochBatches(examples, { batchSize: config.batchPrompts, seed, epoch });
      const batch = batches[batchIndex].map((row) => examples[row]);
      const numbers = await takeStep(step, batch, { participants, config, plan });
      const isLast = step === plan.totalSteps;
      const isEvaluated =
        evaluateEverySteps > 0 && (step % evaluateEverySteps === 0 || isLast || step === plan.warmupSteps);
      const validation = isEvaluated ? ((await hooks.evaluate?.(student, step)) ?? null) : null;
      const row: StepRow = { ...numbers, validation };
      checkFinite(row, checkpoint);
      numTokens += row.numTokens;
      history.append(row);
      hooks.onStep?.(row, plan.totalSteps);
      for (const alarm of addNew(alarms, findAlarms(history.rows))) {
        log(alarm.message);
        hooks.onAlarm?.(alarm);
      }
      const differenceNats = row.samplingDifferenceNats ?? 0;
      const explained = LARGEST_DIFFERENCE_NATS[precision];
      if (differenceNats > explained && !hasToldDifference) {
        hasToldDifference = true;
        log(
          `Step ${step}: log-probabilities of sampling and of training differ by up to ${differenceNats.toExponential(1)} nats, more than the ${explained} of rounding in ${precision}: rollouts are drawn from another distribution than is trained. Ratios start at 1 all the same (told once).`,
        );
      }
      if (isBetter(row, bestRow)) {
        bestRow = row;
        participants.keepBest();
      }
      if (config.checkpointEverySteps > 0 && step % config.checkpointEverySteps === 0) await save();
    }
    await save();
    const isComplete = step >= plan.totalSteps;
    if (isComplete && bestRow !== undefined) participants.takeBest();
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
    participants.dispose();
  }
}

/** Adds alarms of kinds that are not there yet, and gives them. */
function addNew(alarms: Alarm[], found: readonly Alarm[]): Alarm[] {
  const fresh = found.filter(({ kind }) => !alarms.some((known) => known.kind === kind));
  alarms.push(...fresh);
  return fresh;
}

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
