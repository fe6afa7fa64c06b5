/** Supervised training on response tokens: one straight loop. */
import { effectivePrecision } from '../engine/compiler.js';
import { type LanguageModel, withLora } from '../model/language-model.js';
import { ConfigError, DataError } from '../support/errors.js';
import { createRandom, deriveSeed } from '../support/random.js';
import {
  type BatchArrays,
  batchesPerEpoch,
  type DataPosition,
  epochBatches,
  fillMicroBatch,
  lossWeight,
  nextPosition,
  numResponseTokens,
  planMicroBatches,
  prepareExamples,
  type TrainingExample,
} from './batches.js';
import type { NamedArrays } from './bound-batches.js';
import { findCheckpoint, loadCheckpoint, type TrainingState, writeTrainingCheckpoint } from './checkpoint.js';
import type { TrainingConfig } from './config.js';
import { crossEntropy, languageModelObjective } from './objective.js';
import { createOptimizer } from './optimizer.js';
import type { RowLoss } from './row-loss.js';
import { chooseCheckpointing, identifyRun } from './run-setup.js';
import { learningRateAt } from './schedule.js';
import { createObjectiveStep } from './step.js';
import { trainableSpecs } from './trainable.js';

/** What one optimiser step did. */
export interface StepReport {
  /** 1 … totalSteps. */
  readonly step: number;
  readonly totalSteps: number;
  readonly epoch: number;
  /** Mean over the response tokens of the batch, before the update. */
  readonly lossNats: number;
  /** Global norm before clipping. */
  readonly gradientNorm: number;
  readonly learningRate: number;
  /** Response tokens the loss counted. */
  readonly numTokens: number;
  /** Tokens computed, prompts and padding included. */
  readonly numComputedTokens: number;
  readonly durationMs: number;
}

export interface TrainingHooks {
  /** Where checkpoints go and are found again; without it there are none. */
  readonly folder?: string | undefined;
  readonly onStep?: (report: StepReport) => void;
  readonly onCheckpoint?: (folder: string, step: number) => void;
  /** Called every `evaluateEverySteps` steps, between steps. */
  readonly evaluate?: (step: number, model: LanguageModel) => Promise<void>;
  /** Notices, one sentence each. */
  readonly log?: (message: string) => void;
  /** What is minimised in place of −ln p, and on which rows. Made for the model as it is trained, adapters included. */
  readonly loss?: ((model: LanguageModel) => RowLoss) | undefined;
  /** Ends the run after the step at hand, with a checkpoint. */
  readonly signal?: AbortSignal | undefined;
}

export interface TrainingResult {
  /** The model given, or that model with adapters where the configuration asks for them; its tensors are the trained ones. */
  readonly model: LanguageModel;
  /** Steps taken in all, those before a resumption included. */
  readonly numSteps: number;
  readonly totalSteps: number;
  readonly numTokens: number;
  /** Of the last step taken now; undefined where a finished run was asked to go on. */
  readonly lossNats: number | undefined;
  /** False where the signal ended the run early. */
  readonly isComplete: boolean;
  /** The last checkpoint, if any. */
  readonly checkpoint: string | undefined;
}

/**
 * Trains a model in place by AdamW on −ln p(response token | what stands before), averaged over the response tokens of a batch.
 * With `folder` it goes on from the newest whole checkpoint there; stopped and resumed equals straight through, bit for bit on
 * one thread.
 * Errors: DataError for wrong rows or none, and where loss or gradient is no longer finite (naming the step, the rows and the
 * last checkpoint); ConfigError for settings that do not fit the model; CheckpointError for checkpoints of another run.
 */
export async function trainModel(
  base: LanguageModel,
  rows: readonly TrainingExample[],
  config: TrainingConfig,
  hooks: TrainingHooks = {},
): Promise<TrainingResult> {
  const { folder, log = () => undefined } = hooks;
  const maxLength = config.maxLength ?? base.config.maxPositions;
  if (maxLength > base.config.maxPositions)
    throw new ConfigError(
      `maxLength is ${maxLength}; the model's context is ${base.config.maxPositions} tokens. Choose at most that.`,
    );
  const { vocabSize } = base.config;
  const prepared = prepareExamples(rows, { vocabSize, maxLength, overlong: config.overlong });
  const { examples, numTruncated, numWithoutResponse } = prepared;
  if (numTruncated > 0) log(`${numTruncated} of ${rows.length} rows were cut at ${maxLength} tokens.`);
  if (numWithoutResponse > 0) log(`${numWithoutResponse} rows hold no response token and were left out.`);

  const model = withAdapters(base, config);
  const rowLoss = hooks.loss?.(model);
  const { runtime } = model.compiler;
  const precision =
    config.precision === 'auto' ? model.compiler.precision : effectivePrecision(runtime, config.precision);
  // What was computed in one precision does not go on in another.
  const run = identifyRun(base, examples, { ...config, precision, ...rowLoss?.settings });
  const specs = trainableSpecs(model.config, model.lora);
  const trained = new Map(specs.map(({ name }) => [name, model.parameters.get(name)!]));
  const optimizer = createOptimizer(runtime, specs, config);
  const checkpointing = chooseCheckpointing(model, examples, { config, log });
  const objective = languageModelObjective(model, rowLoss?.tokenLoss ?? crossEntropy, {
    checkpointing,
    precision,
  });
  const trainingStep = createObjectiveStep<BatchArrays & NamedArrays>(objective, optimizer, config);

  const stepsPerEpoch = batchesPerEpoch(examples.length, config.batchSize);
  const totalSteps = Math.min(config.maxSteps ?? Number.POSITIVE_INFINITY, Math.ceil(config.epochs * stepsPerEpoch));
  const schedule = {
    ...config,
    kind: config.schedule,
    totalSteps,
    warmupSteps: Math.round(config.warmupFraction * totalSteps),
  };

  let numTokens = 0;
  let lossNats: number | undefined;
  let checkpoint: string | undefined;
  let lastSaved = 0;
  let position: DataPosition = { seed: config.seed, epoch: 0, batchIndex: 0 };
  let order: { readonly epoch: number; readonly batches: number[][] } | undefined;
  const save = async () => {
    if (folder === undefined || lastSaved === optimizer.step) return;
    const { step } = optimizer;
    const state: TrainingState = { step, position, numTokens, run };
    checkpoint = await writeTrainingCheckpoint(folder, state, {
      trained,
      moments: optimizer.moments,
      keep: config.keepCheckpoints,
    });
    lastSaved = step;
    hooks.onCheckpoint?.(checkpoint, step);
  };

  try {
    const found = folder === undefined ? undefined : await findCheckpoint(folder, run, log);
    if (found !== undefined) {
      loadCheckpoint(found, { trained, moments: optimizer.moments });
      checkpoint = found.folder;
      lastSaved = found.state.step;
      optimizer.step = found.state.step;
      numTokens = found.state.numTokens;
      position = found.state.position;
      log(`Goes on from ${found.folder} (step ${found.state.step} of ${totalSteps}).`);
    }
    while (optimizer.step < totalSteps && hooks.signal?.aborted !== true) {
      const start = performance.now();
      const step = optimizer.step + 1;
      const { epoch, batchIndex } = position;
      if (order?.epoch !== epoch) order = { epoch, batches: epochBatches(examples, { ...config, epoch }) };
      const given = order.batches[batchIndex].map((row) => examples[row]);
      const prepared = (await rowLoss?.prepare(given, step)) ?? { examples: given };
      const batch = prepared.examples;
      const numInBatch = batch.reduce((sum, row) => sum + numResponseTokens(row), 0);
      // Of a batch that counts nothing the loss is 0, not 0 / 0.
      const tokenWeight = 1 / (batch.reduce((sum, row) => sum + lossWeight(row), 0) || 1);
      const rowsOfBatch = batch.map((_, row) => row);
      const parts = planMicroBatches(batch, rowsOfBatch, config.microBatchTokens).map((part) => ({
        batch: part.batch,
        time: part.time,
        fill(arrays: BatchArrays & NamedArrays) {
          fillMicroBatch(batch, part, { arrays, tokenWeight });
          prepared.fill?.(part, arrays);
        },
      }));
      const learningRate = learningRateAt(schedule, step);
      const result = await trainingStep.run(parts, learningRate);
      if (!Number.isFinite(result.lossNats) || !Number.isFinite(result.gradientNorm))
        throw divergence({ ...result, step, checkpoint, ids: given.map(({ id }) => id) });
      lossNats = result.lossNats;
      position = nextPosition(position, stepsPerEpoch);
      numTokens += numInBatch;
      hooks.onStep?.({
        ...result,
        step,
        totalSteps,
        epoch,
        learningRate,
        numTokens: numInBatch,
        numComputedTokens: parts.reduce((sum, part) => sum + part.batch * part.time, 0),
        durationMs: performance.now() - start,
      });
      // Before the checkpoint: who goes on from there has every score up to it.
      if (config.evaluateEverySteps > 0 && step % config.evaluateEverySteps === 0) await hooks.evaluate?.(step, model);
      if (config.checkpointEverySteps > 0 && step % config.checkpointEverySteps === 0) await save();
    }
    if (optimizer.step > 0) await save();
    const numSteps = optimizer.step;
    return { model, numSteps, totalSteps, numTokens, lossNats, isComplete: numSteps >= totalSteps, checkpoint };
  } catch (error) {
    // Nobody else knows the adapters made here.
    if (model !== base) for (const tensor of trained.values()) tensor.dispose();
    throw error;
  } finally {
    trainingStep.dispose();
    optimizer.dispose();
  }
}

function withAdapters(model: LanguageModel, { lora, seed }: TrainingConfig): LanguageModel {
  if (lora === undefined) return model;
  if (model.lora !== undefined)
    throw new ConfigError(
      'lora: the model already has adapters. Merge them first, or leave lora out to train them on.',
    );
  return withLora(model, lora, { random: createRandom(deriveSeed(seed, 'lora')) });
}

const SHOWN_IDS = 8;

function divergence(at: {
  step: number;
  lossNats: number;
  gradientNorm: number;
  ids: readonly string[];
  checkpoint: string | undefined;
}): DataError {
  const { step, lossNats, gradientNorm, ids, checkpoint } = at;
  const more = ids.length > SHOWN_IDS ? ` and ${ids.length - SHOWN_IDS} more` : '';
  const saved = checkpoint === undefined ? 'There is no checkpoint yet' : `The last good checkpoint is ${checkpoint}`;
  return new DataError(
    `Training diverged at step ${step}: the loss is ${lossNats}, the norm of the gradient ${gradientNorm}. Rows of the batch: ${ids.slice(0, SHOWN_IDS).join(', ')}${more}. ${saved}. Look at these rows, or use a lower learningRate.`,
  );
}
