/** What a run works with: tasks and their questions, models, the teacher's text. */

import { type Compiler, createCompiler } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import type { OpenedModel } from '../../jobs/open-model.js';
import { ConfigError } from '../../support/errors.js';
import { openTask } from '../open-task.js';
import type { ModelRequest, Question, Task } from '../task.js';
import type { DistillConfig } from './config.js';
import { IN_DISTRIBUTION, OUT_OF_DISTRIBUTION, type QuestionSet } from './examine.js';
import { localTraces } from './local-traces.js';
import { createRunModels, type RunModels } from './models.js';
import { type QuestionSplit, splitQuestions } from './questions.js';
import { remoteTraces } from './remote-traces.js';
import { storedTraces } from './stored-traces.js';
import type { TraceContext, TraceSource } from './traces.js';

/** A teacher whose weights are there. */
interface LocalTeacher {
  readonly identity: string;
  readonly request: ModelRequest;
  open(): Promise<OpenedModel>;
}

export interface RunSetup {
  readonly compiler: Compiler;
  readonly task: Task;
  /** Questions that everybody is asked at the end. */
  readonly sets: readonly QuestionSet[];
  readonly validation: QuestionSet;
  /** The first questions to learn from. */
  distilQuestions(count: number): Promise<readonly Question[]>;
  readonly models: RunModels;
  /** Undefined where only text is known of the teacher. */
  readonly teacher: LocalTeacher | undefined;
  readonly source: TraceSource;
  studentRequest(seed: number): ModelRequest;
  /** What the questions that are asked at the end depend on, beside their number. */
  readonly setsIdentity: Readonly<Record<string, string>>;
  dispose(): void;
}

type SetupContext = Omit<TraceContext, 'task'> & { readonly threads: number | undefined };

/** The tasks of a run by what they are for. Errors: ConfigError for a set that has the name of another. */
async function openTasks(config: DistillConfig) {
  const reserved = [IN_DISTRIBUTION, OUT_OF_DISTRIBUTION];
  const wrong = Object.keys(config.otherTasks).find((name) => reserved.includes(name));
  if (wrong !== undefined) throw new ConfigError(`otherTasks: '${wrong}' is the name of the run's own questions.`);
  const main = await openTask(config.task);
  const other = config.outOfDistribution === undefined ? undefined : await openTask(config.outOfDistribution);
  const further: [name: string, task: Task][] = [];
  for (const [name, each] of Object.entries(config.otherTasks)) further.push([name, await openTask(each)]);
  return {
    main,
    other,
    further,
    all: [main, ...(other === undefined ? [] : [other]), ...further.map(([, task]) => task)],
  };
}

/** Errors: those of the tasks; ConfigError and DataError for a teacher that cannot be asked. */
export async function openSetup(context: SetupContext): Promise<RunSetup> {
  const { config, threads } = context;
  const { main: task, other, further, all } = await openTasks(config);
  const compiler = createCompiler(openRuntime({ threads: threads ?? config.threads }), { precision: config.precision });
  const dispose = () => {
    compiler.dispose();
    compiler.runtime.dispose();
    for (const each of all) each.dispose();
  };
  try {
    const questions = splitQuestions(task, config.inDistribution, other);
    const models = createRunModels(task, { compiler, ...context });
    const teacher = await localTeacher(config, models);
    return {
      ...{ compiler, task, models, teacher, dispose },
      sets: await questionSets(config, { task, other, further, questions }),
      validation: {
        name: IN_DISTRIBUTION,
        task,
        questions: await questions.inside('validation', config.validation.count),
      },
      distilQuestions: (count) => questions.inside('distil', count),
      source: await openSource({ ...context, task }, teacher),
      studentRequest: (seed) => ({
        ...{ role: 'student', seed },
        kind: config.student.kind,
        teacherSeed: config.teacher.seed,
      }),
      setsIdentity: Object.fromEntries([
        ...(other === undefined ? [] : [[OUT_OF_DISTRIBUTION, other.identity]]),
        ...further.map(([name, each]) => [name, each.identity]),
      ]),
    };
  } catch (error) {
    dispose();
    throw error;
  }
}

async function questionSets(
  { evaluation: { purpose, count } }: DistillConfig,
  {
    task,
    other,
    further,
    questions,
  }: { task: Task; other: Task | undefined; further: readonly [string, Task][]; questions: QuestionSplit },
): Promise<QuestionSet[]> {
  const sets: QuestionSet[] = [
    { name: IN_DISTRIBUTION, task, questions: await questions.inside(purpose, count) },
    { name: OUT_OF_DISTRIBUTION, task: other ?? task, questions: await questions.outside(purpose, count) },
  ];
  for (const [name, each] of further) sets.push({ name, task: each, questions: await each.questions(purpose, count) });
  return sets;
}

async function localTeacher(
  { teacher: { url, traces, seed, kind } }: DistillConfig,
  models: RunModels,
): Promise<LocalTeacher | undefined> {
  if (url !== undefined && traces !== undefined)
    throw new ConfigError('Give either teacher.url or teacher.traces, not both: which of them is the teacher?');
  if (url !== undefined || traces !== undefined) return undefined;
  const request: ModelRequest = { role: 'teacher', seed, kind, teacherSeed: seed };
  return { identity: await models.identityOf(request), request, open: () => models.open(request) };
}

async function openSource(context: TraceContext, teacher: LocalTeacher | undefined): Promise<TraceSource> {
  const { traces } = context.config.teacher;
  if (traces !== undefined) return storedTraces(traces);
  return teacher === undefined ? remoteTraces(context) : localTraces(context, teacher);
}
