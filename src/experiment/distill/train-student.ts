/** One student by one method: trained in place, its checkpoints in a folder of its own. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { OpenedModel } from '../../jobs/open-model.js';
import type { Alarm, StepRow, Validation } from '../../methods/gad/alarms.js';
import { createConvolutionalDiscriminator } from '../../methods/gad/convolutional.js';
import { createTransformerDiscriminator, type Discriminator } from '../../methods/gad/discriminator.js';
import { runGad } from '../../methods/gad/run-gad.js';
import { holdsCells, openCellCache, writeCellCache } from '../../methods/white-box-kd/cell-cache.js';
import { whiteBoxLoss } from '../../methods/white-box-kd/row-loss.js';
import { createTeacherPass } from '../../methods/white-box-kd/teacher-pass.js';
import type { LanguageModel } from '../../model/language-model.js';
import { ConfigError, invariant } from '../../support/errors.js';
import { createRandom, deriveSeed } from '../../support/random.js';
import type { Tokenizer } from '../../tokenizer/types.js';
import type { TrainingExample } from '../../training/batches.js';
import { trainModel } from '../../training/train.js';
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
  /** Another model to make a discriminator of. */
  openModel(location: string): Promise<OpenedModel>;
  evaluate(model: LanguageModel): Promise<Validation>;
  readonly signal: AbortSignal;
  readonly onProgress: (step: number, totalSteps: number, note: string) => void;
  readonly log: (message: string) => void;
}

export interface TrainedStudent {
  readonly alarms: readonly Alarm[];
  readonly steps: readonly StepRow[];
  /** Of the weights that were kept. */
  readonly validation: (Validation & { readonly step: number }) | null;
}

/** Trains the student's model in place. Errors: those of the method; the signal's reason. */
export async function trainStudent(
  model: LanguageModel,
  examples: readonly TrainingExample[],
  student: PlannedStudent,
  context: StudentContext,
): Promise<TrainedStudent> {
  await mkdir(context.folder, { recursive: true });
  if (student.method === 'gad') return adversarial(model, examples, student, context);
  const { folder, signal, log, onProgress } = context;
  const hooks = {
    folder,
    signal,
    log,
    onStep: ({ step, totalSteps, lossNats }: { step: number; totalSteps: number; lossNats: number }) =>
      onProgress(step, totalSteps, `loss ${lossNats.toFixed(3)} nats`),
  };
  if (student.training.lora !== undefined)
    throw new ConfigError('training.lora: a distillation run trains all weights of its students.');
  if (student.method === 'seqkd') await trainModel(model, examples, student.training, hooks);
  else await whiteBox(model, examples, { student, context, hooks });
  signal.throwIfAborted();
  return { alarms: [], steps: [], validation: null };
}

/** The teacher's distributions on its own responses are computed once for all students; on the student's own they are computed anew. */
async function whiteBox(
  model: LanguageModel,
  examples: readonly TrainingExample[],
  {
    student,
    context,
    hooks,
  }: { student: PlannedStudent; context: StudentContext; hooks: Parameters<typeof trainModel>[3] },
): Promise<void> {
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
        await trainModel(model, examples, training, {
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
  model: LanguageModel,
  examples: readonly TrainingExample[],
  { gad, seed }: PlannedStudent,
  context: StudentContext,
): Promise<TrainedStudent> {
  const { folder, tokenizer, signal, log, onProgress, evaluate } = context;
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
    return { alarms, steps, validation: bestValidation === null ? null : { ...bestValidation, step: bestStep } };
  } finally {
    discriminator.dispose();
  }
}

async function makeDiscriminator(
  student: LanguageModel,
  config: PlannedStudent['gad']['discriminator'],
  { seed, openModel }: { seed: number; openModel: StudentContext['openModel'] },
): Promise<Discriminator> {
  const { compiler } = student;
  const random = createRandom(deriveSeed(seed, 'discriminator'));
  const { kind, model: location } = config;
  if (kind === 'student')
    return createTransformerDiscriminator(compiler, { config: student.config, from: student, random });
  if (kind === 'convolutional') {
    const { vocabSize, maxPositions } = student.config;
    return createConvolutionalDiscriminator(compiler, {
      ...{ vocabSize, width: config.convolutionWidth, maxLength: maxPositions, random },
    });
  }
  if (kind === 'model') {
    if (location === undefined) throw new ConfigError('gad.discriminator.kind model needs gad.discriminator.model.');
    const opened = await openModel(location);
    try {
      const { config: other } = opened.model;
      if (other.vocabSize < student.config.vocabSize)
        throw new ConfigError(
          `${location}: a discriminator must know the student's tokens; it has ${other.vocabSize} of ${student.config.vocabSize}.`,
        );
      return createTransformerDiscriminator(compiler, { config: other, from: opened.model, random });
    } finally {
      opened.dispose();
    }
  }
  const { config: base } = student;
  const scaled = (value: number, multiple: number) => Math.max(1, Math.round(value * multiple));
  const numKvHeads = scaled(base.numKvHeads, config.widthMultiple);
  return createTransformerDiscriminator(compiler, {
    config: {
      ...base,
      numLayers: scaled(base.numLayers, config.layersMultiple),
      numKvHeads,
      // As many query heads to each as the student has, so that the grouping stays whole.
      numHeads: numKvHeads * Math.round(base.numHeads / base.numKvHeads),
      hiddenSize: scaled(base.hiddenSize, config.widthMultiple),
      intermediateSize: scaled(base.intermediateSize, config.widthMultiple),
    },
    random,
  });
}

/** Folder of the trained model in a student's folder. */
export const modelFolder = (folder: string): string => join(folder, 'model');

/** Whether a student's folder holds its result. */
export const isFinished = (folder: string): boolean => existsSync(join(folder, 'student.json'));
