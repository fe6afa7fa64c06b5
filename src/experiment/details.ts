/** What the report shows beside the points: machine and times, facts, traces. */
import { isTilted, nameOf, settingsOf } from './arms.js';
import { collectCosts, collectFacts, type RecordOf } from './collect.js';
import type { Plan } from './plan.js';
import { type Details, type FactTable, type ShownTrace, TRADEOFF_SCHEMA_VERSION } from './records.js';
import type { RunFile } from './run-file.js';
import type { Stage } from './stage.js';
import { readAnswers } from './stages/evaluation.js';
import { readTraces } from './stages/traces.js';
import { stageFolder } from './store.js';
import type { Question, Response, ResponseGroup, Task } from './task.js';

interface Sources {
  readonly plan: Plan;
  readonly run: RunFile;
  readonly task: Task;
  /** Folder of the run. */
  readonly output: string;
  readonly recordOf: RecordOf;
  /** Whether the run is whole: then texts are read and described as well. */
  readonly isFinal: boolean;
}

/** Texts of a group that are enough to describe its style. */
const DESCRIBED_TEXTS = 500;

export async function collectDetails(sources: Sources): Promise<Details> {
  const { plan, run, task, recordOf, isFinal } = sources;
  const done = plan.stages.filter(({ id }) => recordOf(id) !== undefined).length;
  const used = new Set(plan.points.flatMap(({ student }) => student.attack ?? []));
  const kinds = new Set(plan.points.flatMap(({ arm }) => (isTilted(arm) ? [arm.proxyKind] : [])));
  const attacks = Object.entries(task.attacks).filter(([name]) => used.has(name));
  return {
    schemaVersion: TRADEOFF_SCHEMA_VERSION,
    name: run.name,
    isQuick: run.isQuick,
    task: { name: task.name, description: task.description, chance: task.chance },
    config: run.config,
    versions: run.versions,
    machine: run.machine,
    startedAt: run.startedAt,
    wallMs: run.wallMs,
    progress: { done, total: plan.stages.length },
    stages: collectCosts(plan, recordOf),
    glossary: {
      attacks: Object.fromEntries(attacks.map(([name, { description }]) => [name, description])),
      proxyKinds: Object.fromEntries(Object.entries(task.proxyKinds).filter(([name]) => kinds.has(name))),
    },
    command: run.command,
    facts: [...(isFinal ? await describeTexts(sources) : []), ...collectFacts(plan, recordOf)],
    traces: await shownTraces(sources),
  };
}

async function describeTexts({ plan, run, task, output, recordOf }: Sources): Promise<readonly FactTable[]> {
  const folderOf = (id: string) => stageFolder(output, id);
  const stages = new Map(plan.stages.map((stage) => [stage.id, stage]));
  const groups: ResponseGroup[] = [];
  const addAnswers = async (group: 'bases' | 'students', name: string, id: string) => {
    const stage = stages.get(id) as unknown as Stage<'evaluation'>;
    if (recordOf(id) !== undefined)
      groups.push({ group, name, responses: await readAnswers({ task, folderOf }, stage) });
  };
  for (const { name, answers } of plan.portraits) await addAnswers('bases', name, answers);
  const [first] = run.config.replicates;
  const points = plan.points.filter(({ replicate }) => replicate === first);
  const questions = await questionsById(task, run);
  const seen = new Set<string>();
  for (const { arm, traces } of points) {
    const [id] = traces;
    if (seen.has(id) || recordOf(id) === undefined) continue;
    seen.add(id);
    const rows = await readTraces(folderOf(id), DESCRIBED_TEXTS);
    const responses = rows.map(({ id, text, finish }): Response => ({ question: questions.get(id)!, text, finish }));
    groups.push({ group: 'arms', name: nameOf(arm), responses });
  }
  for (const { arm, student, evaluation } of points) {
    const how = [student.trainingMultiple === 1 ? [] : `${student.trainingMultiple}×`, student.attack ?? []].flat();
    await addAnswers('students', [nameOf(arm), ...how].join(', '), evaluation);
  }
  return task.describe(groups);
}

async function questionsById(task: Task, { config }: RunFile): Promise<Map<string, Question>> {
  const questions = await task.questions('distil', config.traces.count);
  return new Map(questions.map((question) => [question.id, question]));
}

async function shownTraces({ plan, run, task, recordOf }: Sources): Promise<ShownTrace[]> {
  const shown = plan.shown.flatMap(({ arm, replicate, shown: id }) => {
    const traces = recordOf<'shown'>(id)?.result.traces;
    return traces === undefined ? [] : [{ arm, replicate, traces }];
  });
  if (shown.length === 0) return [];
  const questions = await task.questions('distil', run.config.shownTraces);
  return shown.flatMap(({ arm, replicate, traces }) =>
    traces.map(({ id, isCorrect, tokens }) => ({
      arm: arm.arm,
      settings: settingsOf(arm),
      teacherSeed: replicate.teacher,
      seed: replicate.seed,
      question: questions.find((question) => question.id === id)?.text ?? id,
      isCorrect,
      tokens,
    })),
  );
}
