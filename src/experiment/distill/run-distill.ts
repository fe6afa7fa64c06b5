/** A distillation run: the teacher's responses, students by every method, what they can do, in one folder. */
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createCompiler } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { type OpenedModel, openModel } from '../../jobs/open-model.js';
import { tokenizerFilesOf } from '../../jobs/train-rows.js';
import { runToy } from '../../methods/gad/toy/run-toy.js';
import type { LanguageModel } from '../../model/language-model.js';
import { fileError, writeFileAtomic } from '../../support/files.js';
import { saveTrainedModel } from '../../training/save.js';
import { lockRun } from '../lock.js';
import { openTask } from '../open-task.js';
import type { Count } from '../records.js';
import { sourceCommit } from '../run-file.js';
import { ask, forceAnswers } from '../stages/ask.js';
import { tokenizerOf } from '../stages/context.js';
import type { ModelRequest, Question } from '../task.js';
import type { DistillConfig, Method } from './config.js';
import { createRunModels } from './models.js';
import { splitQuestions } from './questions.js';
import { DISTILL_SCHEMA_VERSION, type Distill, type DistillRow } from './records.js';
import { examplesOf, localTraces, remoteTraces, storedTraces, type TraceSource } from './traces.js';
import { isFinished, modelFolder, type TrainedStudent, trainStudent } from './train-student.js';
import { planStudents, studentKey } from './variants.js';

export interface DistillOptions {
  readonly config: DistillConfig;
  /** Sequence-level students are there in any case. */
  readonly methods: readonly Method[];
  readonly output: string;
  readonly threads?: number | undefined;
  readonly signal: AbortSignal;
  readonly log: (message: string) => void;
  /** Of the student at hand. */
  readonly onProgress: (progress: { student: string; step: number; totalSteps: number; note: string }) => void;
  /** After every student that is done: what there is so far. */
  readonly onRow?: ((distill: Distill) => Promise<void>) | undefined;
}

interface StoredStudent {
  readonly row: DistillRow;
  readonly steps: TrainedStudent['steps'];
}

const RECORD = 'distill.json';
const CHECKPOINTS = 'checkpoints';

/**
 * Runs what is not done and writes `distill.json` after every student. Stopped, it goes on where it was; a changed configuration
 * makes anew only what depends on the change. Errors: those of the task, the teacher and the methods; the signal's reason.
 */
export async function runDistill(options: DistillOptions): Promise<Distill> {
  const { config, output, signal, log } = options;
  const students = planStudents(config, options.methods);
  const [task, other] = [
    await openTask(config.task),
    config.outOfDistribution === undefined ? undefined : await openTask(config.outOfDistribution),
  ];
  const questions = splitQuestions(task, config.inDistribution, other);
  await mkdir(output, { recursive: true }).catch((error: unknown) => {
    throw fileError(error, 'write', output);
  });
  const lock = await lockRun(output, { signal, onWait: log });
  const compiler = createCompiler(openRuntime({ threads: options.threads ?? config.threads }));
  try {
    const context = { task, config, folder: output, signal, log };
    const models = createRunModels(task, { compiler, ...context });
    const { seed: teacherSeed, kind } = config.teacher;
    const teacherRequest: ModelRequest = { role: 'teacher', seed: teacherSeed, kind, teacherSeed };
    const isText = config.teacher.url !== undefined || config.teacher.traces !== undefined;
    const teacher = isText
      ? undefined
      : { identity: await models.identityOf(teacherRequest), open: () => models.open(teacherRequest) };
    const source = await openSource();

    const maxTokens = config.sampling.maxTokens ?? task.maxTokens;
    const { maxBatch } = config.sampling;
    const { purpose, count } = config.evaluation;
    const inside = await questions.inside(purpose, count);
    const outside = await questions.outside(purpose, count);
    const validation = await questions.inside('validation', config.validation.count);

    const examine = async (opened: OpenedModel, asked: readonly Question[]) => {
      const settings = { task, signal, seed: 0, maxTokens, maxBatch, sampler: { temperature: 0 } };
      const { traces } = await ask(opened, asked, settings);
      const responses = await forceAnswers(opened, { questions: asked, traces }, settings);
      const isOther = other !== undefined && asked === outside;
      const judgements = await (isOther ? other : task).judge(responses, signal);
      return {
        count: { correct: judgements.filter(({ isCorrect }) => isCorrect).length, total: asked.length },
        meanLength: traces.reduce((sum, { tokens }) => sum + tokens.length, 0) / Math.max(1, traces.length),
      };
    };
    const examineBoth = async (opened: OpenedModel) => {
      const { count: inDistribution, meanLength } = await examine(opened, inside);
      const outOfDistribution = outside.length === 0 ? null : (await examine(opened, outside)).count;
      return { inDistribution, outOfDistribution, meanLength };
    };

    /** Something measured once and kept in a file of this name. */
    const keep = async <T>(name: string, make: () => Promise<T>): Promise<T> => {
      const path = join(output, 'measured', `${name}.json`);
      const known = await readFile(path, 'utf8').catch(() => undefined);
      if (known !== undefined) return JSON.parse(known) as T;
      const made = await make();
      await mkdir(join(output, 'measured'), { recursive: true });
      await writeFileAtomic(path, JSON.stringify(made));
      return made;
    };
    const examined = async (request: ModelRequest) => {
      const identity = await models.identityOf(request);
      return keep(
        studentKey(
          { ...students[0], method: 'seqkd' },
          { request, identity, evaluation: [purpose, count], of: 'base' },
        ),
        async () => {
          const opened = await models.open(request);
          try {
            const { inDistribution, outOfDistribution } = await examineBoth(opened);
            return { inDistribution, outOfDistribution };
          } finally {
            opened.dispose();
          }
        },
      );
    };

    const studentRequest = (seed: number): ModelRequest => ({
      role: 'student',
      seed,
      kind: config.student.kind,
      teacherSeed,
    });
    const stored = new Map<string, StoredStudent>();
    const undistilled: { seed: number; inDistribution: Count; outOfDistribution: Count | null }[] = [];
    const teacherCounts = teacher === undefined ? null : await examined(teacherRequest);
    for (const seed of new Set(students.map((student) => student.seed))) {
      undistilled.push({ seed, ...(await examined(studentRequest(seed))) });
    }
    const commit = await sourceCommit();
    const toy = config.toySteps === 0 ? null : runToy({ seed: 0, numSteps: config.toySteps });
    const collect = (): Distill => ({
      schemaVersion: DISTILL_SCHEMA_VERSION,
      commit,
      name: config.name,
      teacher: teacherCounts,
      undistilled,
      rows: [...stored.values()].map(({ row }) => row),
      curves: [...stored.values()].flatMap(({ row, steps }) =>
        steps.length === 0 ? [] : [{ variant: row.variant, seed: row.seed, steps }],
      ),
      toy: toy && { gad: toy.gad, seqkd: toy.seqkd, teacher: toy.teacher },
    });

    for (const student of students) {
      signal.throwIfAborted();
      const name = `${student.variant}, seed ${student.seed}`;
      const base = studentRequest(student.seed);
      const depends = {
        traces: source.identity,
        base: await models.identityOf(base),
        evaluation: [purpose, count, config.validation.count, maxTokens, maxBatch],
      };
      const folder = join(output, 'students', studentKey(student, depends));
      if (!isFinished(folder)) await distil();
      const done = JSON.parse(await readFile(join(folder, 'student.json'), 'utf8')) as StoredStudent;
      stored.set(`${student.variant}\0${student.seed}`, { ...done, row: { ...done.row, variant: student.variant } });
      const distill = collect();
      await writeFileAtomic(join(output, RECORD), `${JSON.stringify(distill, null, 2)}\n`);
      await options.onRow?.(distill);

      async function distil(): Promise<void> {
        const asked = await questions.inside('distil', student.numTraces);
        const traces = await source.responses(asked);
        const startMs = performance.now();
        const opened = await models.open(base);
        try {
          const tokenizer = tokenizerOf(opened);
          const examples = examplesOf(asked, traces, {
            tokenizer,
            encoding: task.encoding,
            sharesTokens: await sharesTokens(tokenizer.fingerprint),
          });
          const trained = await trainStudent(opened.model, examples, student, {
            ...{ folder, shared: output, tokenizer, maxTokens, teacher, signal, log },
            openModel: (location) => openModel(location, { compiler, signal }),
            evaluate: async (model: LanguageModel) => (await examine({ ...opened, model }, validation)).count,
            onProgress: (step, totalSteps, note) => options.onProgress({ student: name, step, totalSteps, note }),
          });
          const { inDistribution, outOfDistribution, meanLength } = await examineBoth(opened);
          await saveTrainedModel(modelFolder(folder), opened.model, {
            files: await tokenizerFilesOf(opened.checkpoint),
            overwrite: true,
          });
          const row: DistillRow = {
            ...{ method: student.method, variant: student.variant, seed: student.seed },
            ...{ inDistribution, outOfDistribution, meanLength },
            tokens: examples.reduce((sum, { tokens, responseStart }) => sum + tokens.length - responseStart, 0),
            numTraces: examples.length,
            wallMs: performance.now() - startMs,
            alarms: trained.alarms,
            validation: trained.validation,
          };
          const result: StoredStudent = { row, steps: trained.steps };
          await writeFileAtomic(join(folder, 'student.json'), JSON.stringify(result));
          await rm(join(folder, CHECKPOINTS), { recursive: true, force: true });
        } finally {
          opened.dispose();
        }
      }
    }
    return collect();

    async function openSource(): Promise<TraceSource> {
      if (config.teacher.traces !== undefined) return storedTraces(config.teacher.traces);
      return teacher === undefined ? remoteTraces(context) : localTraces(context, teacher);
    }

    /** The teacher's ids stand for the student's only where both have one tokenizer. */
    async function sharesTokens(fingerprint: string): Promise<boolean> {
      if (teacher === undefined) return false;
      const name = `tokenizer-${teacher.identity.slice(0, 16)}`;
      const own = await keep(name, async () => {
        const opened = await teacher.open();
        try {
          return { fingerprint: tokenizerOf(opened).fingerprint };
        } finally {
          opened.dispose();
        }
      });
      return own.fingerprint === fingerprint;
    }
  } finally {
    compiler.dispose();
    compiler.runtime.dispose();
    task.dispose();
    other?.dispose();
    await lock.release();
  }
}
