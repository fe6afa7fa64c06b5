/** A distillation run: the teacher's responses, students by every method, what they can do, in one folder. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { resolveThreads } from '../../engine/runtime/threads.js';
import { runToy } from '../../methods/gad/toy/run-toy.js';
import { fileError, readText, writeFileAtomic } from '../../support/files.js';
import { sha256OfJson } from '../../support/hash.js';
import { lockRun } from '../lock.js';
import { describeMachine, ownVersions, sourceCommit } from '../run-file.js';
import type { ModelRequest } from '../task.js';
import { type Answer, examineAll, IN_DISTRIBUTION, readAnswers, writeAnswers } from './examine.js';
import { makeStudent } from './make-student.js';
import { type DistillRecords, openRecordBook, type RunState } from './record-book.js';
import { DISTILL_SCHEMA_VERSION, type Scores } from './records.js';
import { type DistillOptions, settingsOf, type Work } from './run-context.js';
import { openSetup } from './setup.js';
import { isFinished, readStudent } from './student-file.js';
import { type PlannedStudent, planStudents, studentKey } from './variants.js';

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
      await makeStudent(student, folder, {
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
