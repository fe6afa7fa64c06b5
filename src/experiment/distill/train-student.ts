/** One student by one method: trained in place, its checkpoints in a folder of its own. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { OpenedModel } from '../../jobs/open-model.js';
import type { Alarm, StepRow, Validation } from '../../methods/gad/alarms.js';
import { runGad } from '../../methods/gad/run-gad.js';
import { holdsCells, openCellCache, writeCellCache } from '../../methods/white-box-kd/cell-cache.js';
import { whiteBoxLoss } from '../../methods/white-box-kd/row-loss.js';
import { createTeacherPass } from '../../methods/white-box-kd/teacher-pass.js';
import { type LanguageModel, mergeLora, withLora } from '../../model/language-model.js';
import { ConfigError, invariant } from '../../support/errors.js';
import { createRandom, deriveSeed } from '../../support/random.js';
import type { Tokenizer } from '../../tokenizer/types.js';
import type { TrainingExample } from '../../training/batches.js';
import { saveTrainedModel } from '../../training/save.js';
import { makeDiscriminator } from './make-discriminator.js';
import type { ValidationAt } from './records.js';
import { trainSelected } from './selected-training.js';
import { validationsOf } from './student-file.js';
import type { PlannedStudent } from './variants.js';

export interface StudentContext {
  /** Of this student: checkpoints, rows of steps. */
  readonly folder: string;
  /** Of the run: the teacher's distributions. */
  readonly shared: string;
  readonly tokenizer: Tokenizer;
  readonly maxTokens: number;
  /** The teacher's weights and what names them; undefined where only its text is known. */
  readonly teacher: { readonly identity: string; open(): Promise<OpenedModel> } | undefined;
  /** Where the student's base lies, for its adapters to remember. */
  readonly location: string;
  /** Another model to make a discriminator of. */
  openModel(location: string): Promise<OpenedModel>;
  evaluate(model: LanguageModel): Promise<Validation>;
  readonly signal: AbortSignal;
  readonly onProgress: (step: number, totalSteps: number, note: string) => void;
  readonly log: (message: string) => void;
}

export interface TrainedStudent {
  /** With the weights that are kept; its base is the model that was given. */
  readonly model: LanguageModel;
  readonly alarms: readonly Alarm[];
  readonly steps: readonly StepRow[];
  /** Of the weights that were kept. */
  readonly validation: ValidationAt | null;
  readonly validations: readonly ValidationAt[];
}

/** Adapters, before they are merged into the weights. */
const ADAPTER_FOLDER = 'adapter';

/**
 * Trains the student's model in place; adapters, where `training.lora` asks for them, are written into the student's folder and then
 * merged into the weights. Errors: those of the method; the signal's reason.
 */
export async function trainStudent(
  model: LanguageModel,
  examples: readonly TrainingExample[],
  student: PlannedStudent,
  context: StudentContext,
): Promise<TrainedStudent> {
  const { folder, location: baseModel } = context;
  await mkdir(folder, { recursive: true });
  const train = student.method === 'gad' ? adversarial : supervised;
  const trained = await train(model, examples, student, context);
  if (trained.model.lora === undefined) return trained;
  await saveTrainedModel(join(folder, ADAPTER_FOLDER), trained.model, { baseModel, overwrite: true });
  return { ...trained, model: mergeLora(trained.model) };
}

async function supervised(
  model: LanguageModel,
  examples: readonly TrainingExample[],
  student: PlannedStudent,
  context: StudentContext,
): Promise<TrainedStudent> {
  const { folder, signal, log, onProgress, evaluate } = context;
  const hooks = {
    ...{ folder, signal, log, evaluate },
    onStep: ({ step, totalSteps, lossNats }: { step: number; totalSteps: number; lossNats: number }) =>
      onProgress(step, totalSteps, `loss ${lossNats.toFixed(3)} nats`),
  };
  const result =
    student.method === 'seqkd'
      ? await trainSelected(model, examples, student.training, hooks)
      : await whiteBox(model, examples, { student, context, hooks });
  signal.throwIfAborted();
  const { validation, validations } = result;
  return { model: result.model, alarms: [], steps: [], validation, validations };
}

/** The teacher's distributions on its own responses are computed once for all students; on the student's own they are computed anew. */
async function whiteBox(
  model: LanguageModel,
  examples: readonly TrainingExample[],
  {
    student,
    context,
    hooks,
  }: { student: PlannedStudent; context: StudentContext; hooks: Parameters<typeof trainSelected>[3] },
): ReturnType<typeof trainSelected> {
  const { training, whiteBox: config, seed } = student;
  if (context.teacher === undefined)
    throw new ConfigError(
      `${student.method} needs the teacher's weights; of this teacher only text is known. Use seqkd or gad.`,
    );
  const topK = Math.min(config.topK, model.config.vocabSize);
  const { identity: teacher } = context.teacher;
  const opened = await context.teacher.open();
  const { microBatchTokens } = training;
  try {
    if (opened.tokenizer?.fingerprint !== context.tokenizer.fingerprint)
      throw new ConfigError(`${student.method} needs a teacher with the student's tokenizer.`);
    const pass = createTeacherPass(opened.model, { topK, temperature: config.temperature, microBatchTokens });
    try {
      const content = {
        topK,
        vocabSize: opened.model.config.vocabSize,
        temperature: config.temperature,
        teacher,
        examples,
      };
      const path = join(context.shared, `teacher-${topK}-${config.temperature}-${examples.length}.cells`);
      if (!holdsCells(path, content)) {
        context.log("Computes the teacher's distributions at its responses.");
        await writeCellCache(path, content, pass.cellsOf);
      }
      const cache = openCellCache(path);
      try {
        return await trainSelected(model, examples, training, {
          ...hooks,
          loss: (trained) =>
            whiteBoxLoss(
              {
                ...{ config, topK, teacher, seed, maxTokens: context.maxTokens },
                cellsOfRows: async (rows) => rows.map((row) => cache.read(row)),
                cellsOfResponses: pass.cellsOf,
              },
              trained,
            ),
        });
      } finally {
        cache.dispose();
      }
    } finally {
      pass.dispose();
    }
  } finally {
    opened.dispose();
  }
}

async function adversarial(
  base: LanguageModel,
  examples: readonly TrainingExample[],
  { gad, training: { lora }, seed }: PlannedStudent,
  context: StudentContext,
): Promise<TrainedStudent> {
  const { folder, tokenizer, signal, log, onProgress, evaluate } = context;
  const random = createRandom(deriveSeed(seed, 'lora'));
  const model = lora === undefined ? base : withLora(base, lora, { random });
  const discriminator = await makeDiscriminator(model, gad.discriminator, { seed, openModel: context.openModel });
  try {
    const maxTokens = Math.min(gad.maxTokens, context.maxTokens);
    const result = await runGad(
      model,
      discriminator,
      examples,
      { ...gad, maxTokens },
      {
        ...{ folder, tokenizer, signal, log, evaluate },
        onStep(row, totalSteps) {
          const accuracy =
            row.discriminatorAccuracy === null ? '' : `, discriminator ${row.discriminatorAccuracy.toFixed(2)}`;
          onProgress(row.step, totalSteps, `${row.phase}${accuracy}`);
        },
      },
    );
    signal.throwIfAborted();
    invariant(result.isComplete, 'an adversarial run ended early without a signal');
    const { alarms, rows: steps, bestStep, bestValidation } = result;
    const validation = bestValidation === null ? null : { ...bestValidation, step: bestStep };
    return { model, alarms, steps, validation, validations: validationsOf(steps) };
  } finally {
    discriminator.dispose();
  }
}
