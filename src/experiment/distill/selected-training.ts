/** Supervised training of which the best student on the validation split is kept, as of adversarial training. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Validation } from '../../methods/gad/alarms.js';
import { isHigher } from '../../methods/gad/selection.js';
import type { LanguageModel } from '../../model/language-model.js';
import { readText, writeFileAtomic } from '../../support/files.js';
import type { TrainingExample } from '../../training/batches.js';
import { findCheckpoint, loadCheckpoint, writeTrainingCheckpoint } from '../../training/checkpoint.js';
import type { TrainingConfig } from '../../training/config.js';
import { identifyRun } from '../../training/run-setup.js';
import { type TrainingHooks, type TrainingResult, trainModel } from '../../training/train.js';
import { trainableSpecs } from '../../training/trainable.js';
import type { ValidationAt } from './records.js';

const FILE = 'validations.json';
const BEST = 'best';
/** The one before stays until the newest is known to be whole. */
const KEPT = 2;

interface SelectedHooks extends Omit<TrainingHooks, 'evaluate'> {
  readonly folder: string;
  readonly evaluate: (model: LanguageModel) => Promise<Validation>;
}

interface SelectedTraining extends Pick<TrainingResult, 'model' | 'isComplete'> {
  readonly validation: ValidationAt | null;
  readonly validations: readonly ValidationAt[];
}

/**
 * Trains as `trainModel` does. With `evaluateEverySteps` the model is scored after every so many steps and at the end, and the model given
 * ends with the weights of the highest share of right answers, the earliest of equals; without, with the last. Resumable.
 */
export async function trainSelected(
  model: LanguageModel,
  examples: readonly TrainingExample[],
  config: TrainingConfig,
  { evaluate, ...hooks }: SelectedHooks,
): Promise<SelectedTraining> {
  if (config.evaluateEverySteps === 0)
    return { ...(await trainModel(model, examples, config, hooks)), validation: null, validations: [] };
  const { folder } = hooks;
  const path = join(folder, FILE);
  const validations: ValidationAt[] = existsSync(path) ? (JSON.parse(await readText(path)) as ValidationAt[]) : [];
  const run = identifyRun(model, examples, { ...config });
  const consider = async (step: number, trained: LanguageModel) => {
    // A step that is repeated after a crash has its score, and its weights where they were the best.
    if (validations.some((known) => known.step === step)) return;
    const score = { ...(await evaluate(trained)), step };
    if (isHigher(score, bestOf(validations))) {
      const state = { step, position: { seed: config.seed, epoch: 0, batchIndex: 0 }, numTokens: 0, run };
      const tensors = { trained: trainedOf(trained), moments: new Map(), keep: KEPT };
      await mkdir(join(folder, BEST), { recursive: true });
      await writeTrainingCheckpoint(join(folder, BEST), state, tensors);
    }
    validations.push(score);
    await writeFileAtomic(path, JSON.stringify(validations));
  };
  const result = await trainModel(model, examples, config, { ...hooks, evaluate: consider });
  if (!result.isComplete) return { ...result, validation: null, validations };
  await consider(result.totalSteps, result.model);
  // Weights are written as they become the best, so the newest are the best.
  const best = await findCheckpoint(join(folder, BEST), run, hooks.log ?? (() => {}));
  loadCheckpoint(best!, { trained: trainedOf(result.model), moments: new Map() });
  return { ...result, validation: bestOf(validations)!, validations };
}

function trainedOf({ config, lora, parameters }: LanguageModel) {
  return new Map(trainableSpecs(config, lora).map(({ name }) => [name, parameters.get(name)!]));
}

const bestOf = (scores: readonly ValidationAt[]): ValidationAt | undefined =>
  scores.reduce<ValidationAt | undefined>((best, score) => (isHigher(score, best) ? score : best), undefined);
