/** A distillation run: the teacher's responses, students by every method, what they can do, in one folder. */
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { resolveThreads } from '../../engine/runtime/threads.js';
import { openModel } from '../../jobs/open-model.js';
import { tokenizerFilesOf } from '../../jobs/train-rows.js';
import { runToy } from '../../methods/gad/toy/run-toy.js';
import type { LanguageModel } from '../../model/language-model.js';
import { fileError, readText, writeFileAtomic } from '../../support/files.js';
import { sha256OfJson } from '../../support/hash.js';
import { saveTrainedModel } from '../../training/save.js';
import { lockRun } from '../lock.js';
import { describeMachine, ownVersions, sourceCommit } from '../run-file.js';
import { tokenizerOf } from '../stages/context.js';
import type { ModelRequest } from '../task.js';
import type { DistillConfig, Method } from './config.js';
import {
  type Answer,
  examineAll,
  examineSet,
  IN_DISTRIBUTION,
  overlapOf,
  readAnswers,
  writeAnswers,
} from './examine.js';
import { type DistillRecords, openRecordBook, type RunState } from './record-book.js';
import { DISTILL_SCHEMA_VERSION, type Scores } from './records.js';
import { openSetup, type RunSetup } from './setup.js';
import {
  isFinished,
  modelFolder,
  readStudent,
  responsesFile,
  type StoredStudent,
  writeStudent,
} from './student-file.js';
import { examplesOf } from './traces.js';
import { trainStudent } from './train-student.js';
import { type PlannedStudent, planStudents, studentKey } from './variants.js';

export interface DistillOptions {
  readonly config: DistillConfig;
  /** Sequence-level students are there in any case. */
  readonly methods: readonly Method[];
  readonly output: string;
  /** The command without its output folder, for the record. */
  readonly command?: string | undefined;
  readonly threads?: number | undefined;
  readonly signal: AbortSignal;
  readonly log: (message: string) => void;
  /** Of the work at hand: a student's steps, or the teacher's answers. */
  readonly onProgress: (progress: DistillProgress) => void;
  /** After every student that is done: what there is so far. */
  readonly onRow?: ((records: DistillRecords) => Promise<void>) | undefined;
}

export interface DistillProgress {
  /** What is at work: a student, or the teacher. */
  readonly name: string;
  readonly unit: 'steps' | 'answers';
  readonly done: number;
  readonly total: number;
  readonly note: string;
}

const CHECKPOINTS = ['checkpoints', 'best'];

/**
 * Runs what is not done and writes `distill.json` and `details.json` after every student. Stopped, it goes on where it was; a changed
 * configuration makes anew only what depends on the change. Errors: those of the task, the teacher and the methods; the signal's reason.
 */
export async function runDistill(options: DistillOptions): Promise<DistillRecords> {
  const { config, output, signal, log } = options;
  const students = planStudents(config, options.methods);
  await mkdir(output, { recursive: true }).catch((error: unknown) => {
    throw fileError(error, 'write', output);
  });
  const lock = await lockRun(output, { signal, onWait: log });
  try {
    const teach = (done: number, total: number, note: string) =>
      options.onProgress({ name: 'the teacher', unit: 'answers', done, total, note });
    const { threads } = options;
    const setup = await openSetup({ config, folder: output, signal, log, onProgress: teach, threads });
    try {
      return await work(students, { ...options, setup });
    } finally {
      setup.dispose();
    }
  } finally {
    await lock.release();
  }
}

interface Work extends DistillOptions {
  readonly setup: RunSetup;
}

async function work(students: readonly PlannedStudent[], context: Work): Promise<DistillRecords> {
  const { config, output, signal, setup } = context;
  const book = openRecordBook(output);
  const { toySteps } = config;
  const toy = toySteps === 0 ? null : runToy({ seed: 0, numSteps: toySteps });
  let state: RunState = {
    distill: {
      schemaVersion: DISTILL_SCHEMA_VERSION,
      commit: await sourceCommit(),
      toy: toy && { gad: toy.gad, seqkd: toy.seqkd, teacher: toy.teacher },
    },
    details: {
      ...{ schemaVersion: DISTILL_SCHEMA_VERSION, name: config.name, command: context.command ?? '', config },
      ...{ versions: ownVersions(), machine: describeMachine(resolveThreads(context.threads ?? config.threads)) },
      ...{ precision: setup.compiler.precision, teacher: null, undistilled: [], spend: setup.source.spend() },
    },
    ...{ total: students.length, done: [], running: null, others: [], numShown: config.shownResponses },
    now: 'the teacher and the students before they learn',
  };
  await book.write(state);

  const teacherTexts = await examineOthers();
  for (const student of students) {
    signal.throwIfAborted();
    const name = `${student.variant}, seed ${student.seed}`;
    const asked = await setup.distilQuestions(student.numTraces);
    const traces = await setup.source.responses(asked);
    const base = setup.studentRequest(student.seed);
    const key = studentKey(student, await dependenciesOf(base, asked.length - traces.length, traces));
    const folder = join(output, 'students', key);
    state = {
      ...state,
      details: { ...state.details, spend: setup.source.spend() },
      running: isFinished(folder) ? null : { student, folder },
      now: name,
    };
    if (!isFinished(folder)) {
      await distil(student, folder, {
        ...{ context, base, asked, traces, teacherTexts },
        onStep(done, total, note) {
          context.onProgress({ name, unit: 'steps', done, total, note });
          book.writeSoon(() => state);
        },
      });
    }
    const stored = await readStudent(folder);
    state = { ...state, running: null, done: [...state.done, { student, stored, folder }] };
    await context.onRow?.(await book.write(state));
  }
  state = { ...state, now: null };
  return book.write(state);

  /** What a student's result depends on beside its settings. */
  async function dependenciesOf(base: ModelRequest, numMissing: number, traces: readonly { id: string }[]) {
    const { purpose, count } = config.evaluation;
    const { maxTokens = setup.task.maxTokens, maxBatch } = config.sampling;
    return {
      traces: setup.source.identity,
      base: await setup.models.identityOf(base),
      evaluation: [purpose, count, config.validation.count, maxTokens, maxBatch],
      ...(setup.compiler.precision !== 'float32' && { precision: setup.compiler.precision }),
      ...(numMissing > 0 && { answered: traces.map(({ id }) => id) }),
      ...(Object.keys(setup.setsIdentity).length > 0 && { sets: setup.setsIdentity }),
    };
  }

  /** Scores of the teacher and of students before they learn, made once; gives the teacher's words to the questions in distribution. */
  async function examineOthers(): Promise<ReadonlyMap<string, string>> {
    const [inside] = setup.sets;
    const texts = new Map(await setup.source.known(inside.questions));
    if (setup.teacher !== undefined) {
      const { scores, answers } = await examined(setup.teacher.request, context);
      for (const { id, set, response } of answers) if (set === IN_DISTRIBUTION) texts.set(id, response);
      state = {
        ...state,
        details: { ...state.details, teacher: scores },
        others: [{ name: 'teacher', answers }],
      };
    }
    for (const seed of new Set(students.map((student) => student.seed))) {
      const { scores, answers } = await examined(setup.studentRequest(seed), context);
      const { details, others } = state;
      const isFirst = details.undistilled.length === 0;
      state = {
        ...state,
        details: { ...details, undistilled: [...details.undistilled, { seed, ...scores }] },
        others: isFirst ? [...others, { name: 'undistilled', answers }] : others,
      };
    }
    await book.write(state);
    return texts;
  }
}

const settingsOf = ({ config, setup, signal }: Work) => ({
  ...{ task: setup.task, signal, maxTokens: config.sampling.maxTokens ?? setup.task.maxTokens },
  maxBatch: config.sampling.maxBatch,
});

/** A model as it is: measured once and kept. */
async function examined(request: ModelRequest, context: Work): Promise<{ scores: Scores; answers: Answer[] }> {
  const { config, output, setup } = context;
  const identity = await setup.models.identityOf(request);
  const { task, signal, ...asking } = settingsOf(context);
  const { precision } = setup.compiler;
  const { evaluation } = config;
  const questions = [task.identity, config.inDistribution ?? null, setup.setsIdentity, evaluation];
  const key = sha256OfJson({ identity, precision, questions, asking }).slice(0, 16);
  const folder = join(output, 'measured', key);
  const scoresFile = join(folder, 'scores.json');
  const answersFile = join(folder, 'responses.jsonl');
  if (!existsSync(scoresFile)) {
    const opened = await setup.models.open(request);
    try {
      const { scores, answers } = await examineAll(opened, setup.sets, { task, signal, ...asking });
      await writeAnswers(answersFile, answers);
      await writeFileAtomic(scoresFile, JSON.stringify(scores));
    } finally {
      opened.dispose();
    }
  }
  return { scores: JSON.parse(await readText(scoresFile)) as Scores, answers: await readAnswers(answersFile) };
}

interface Distilling {
  readonly context: Work;
  readonly base: ModelRequest;
  readonly asked: Parameters<typeof examplesOf>[0];
  readonly traces: Parameters<typeof examplesOf>[1];
  readonly teacherTexts: ReadonlyMap<string, string>;
  readonly onStep: (done: number, total: number, note: string) => void;
}

/** Trains one student, asks it everything, and leaves its folder finished. */
async function distil(student: PlannedStudent, folder: string, distilling: Distilling): Promise<void> {
  const { context, base, asked, traces, teacherTexts, onStep } = distilling;
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
