/** One student from the teacher's responses to a finished folder. */
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { openModel } from '../../jobs/open-model.js';
import { tokenizerFilesOf } from '../../jobs/train-rows.js';
import type { LanguageModel } from '../../model/language-model.js';
import { readText, writeFileAtomic } from '../../support/files.js';
import { saveTrainedModel } from '../../training/save.js';
import { tokenizerOf } from '../stages/context.js';
import type { ModelRequest } from '../task.js';
import { examineAll, examineSet, IN_DISTRIBUTION, overlapOf, writeAnswers } from './examine.js';
import { settingsOf, type Work } from './run-context.js';
import { modelFolder, responsesFile, type StoredStudent, writeStudent } from './student-file.js';
import { examplesOf } from './traces.js';
import { trainStudent } from './train-student.js';
import type { PlannedStudent } from './variants.js';

const CHECKPOINTS = ['checkpoints', 'best'];

interface Making {
  readonly context: Work;
  readonly base: ModelRequest;
  readonly asked: Parameters<typeof examplesOf>[0];
  readonly traces: Parameters<typeof examplesOf>[1];
  readonly teacherTexts: ReadonlyMap<string, string>;
  readonly onStep: (done: number, total: number, note: string) => void;
}

/** Trains one student, asks it everything, and leaves its folder finished. */
export async function makeStudent(student: PlannedStudent, folder: string, making: Making): Promise<void> {
  const { context, base, asked, traces, teacherTexts, onStep } = making;
  const { output, signal, log, setup } = context;
  const settings = settingsOf(context);
  const startMs = performance.now();
  const opened = await setup.models.open(base);
  try {
    const tokenizer = tokenizerOf(opened);
    const examples = examplesOf(asked, traces, {
      tokenizer,
      encoding: setup.task.encoding,
      sharesTokens: await sharesTokens(tokenizer.fingerprint, context),
    });
    const trained = await trainStudent(opened.model, examples, student, {
      ...{ folder, shared: output, tokenizer, maxTokens: settings.maxTokens, teacher: setup.teacher, signal, log },
      location: opened.checkpoint.location,
      openModel: (location) => openModel(location, { compiler: setup.compiler, signal }),
      evaluate: async (model: LanguageModel) =>
        (await examineSet({ ...opened, model }, setup.validation, settings)).count,
      onProgress: onStep,
    });
    const trainingMs = performance.now() - startMs;
    const { scores, meanLength, answers } = await examineAll({ ...opened, model: trained.model }, setup.sets, settings);
    await saveTrainedModel(modelFolder(folder), trained.model, {
      files: await tokenizerFilesOf(opened.checkpoint),
      overwrite: true,
    });
    await writeAnswers(responsesFile(folder), answers);
    const { inDistribution, outOfDistribution, otherTasks } = scores;
    const own = answers.filter(({ set }) => set === IN_DISTRIBUTION);
    const stored: StoredStudent = {
      row: {
        ...{ method: student.method, variant: student.variant, seed: student.seed },
        ...{ inDistribution, outOfDistribution, meanLength },
        tokens: examples.reduce((sum, { tokens, responseStart }) => sum + tokens.length - responseStart, 0),
        wallMs: Math.round(performance.now() - startMs),
        alarms: trained.alarms,
      },
      details: {
        ...{ numTraces: examples.length, otherTasks, overlap: overlapOf(own, teacherTexts), trainingMs },
        ...{ validation: trained.validation, validations: trained.validations, steps: trained.steps },
      },
    };
    await writeStudent(folder, stored);
    for (const name of CHECKPOINTS) await rm(join(folder, name), { recursive: true, force: true });
  } finally {
    opened.dispose();
  }
}

/** The teacher's ids stand for the student's only where both have one tokenizer. */
async function sharesTokens(fingerprint: string, { output, setup: { teacher } }: Work): Promise<boolean> {
  if (teacher === undefined) return false;
  const path = join(output, 'measured', `tokenizer-${teacher.identity.slice(0, 16)}.json`);
  if (!existsSync(path)) {
    const opened = await teacher.open();
    try {
      await mkdir(join(output, 'measured'), { recursive: true });
      await writeFileAtomic(path, JSON.stringify({ fingerprint: tokenizerOf(opened).fingerprint }));
    } finally {
      opened.dispose();
    }
  }
  return (JSON.parse(await readText(path)) as { fingerprint: string }).fingerprint === fingerprint;
}
