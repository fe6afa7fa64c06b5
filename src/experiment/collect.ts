/** From the records of stages to the tables of a run, whole or in progress: pure. */
import { isTilted, nameOf, settingsOf } from './arms.js';
import type { Plan, PlannedPoint } from './plan.js';
import {
  type FactTable,
  type StageCost,
  TRADEOFF_SCHEMA_VERSION,
  type Tradeoff,
  type TradeoffPoint,
} from './records.js';
import type { StageKind, StageResults } from './stage.js';
import type { StageRecord } from './store.js';

/** The record of a stage; undefined while it is not done. */
export type RecordOf = <K extends StageKind>(id: string) => StageRecord<K> | undefined;

export function collectTradeoff(
  plan: Plan,
  recordOf: RecordOf,
  { commit, precision }: Required<Pick<Tradeoff, 'commit' | 'precision'>>,
): Tradeoff {
  const proxy = plan.errorStudy === null ? undefined : recordOf<'proxy'>(plan.errorStudy);
  const cost = plan.cost === null ? undefined : recordOf<'cost'>(plan.cost.stage);
  return {
    schemaVersion: TRADEOFF_SCHEMA_VERSION,
    commit,
    precision,
    points: plan.points.flatMap((point) => collectPoint(point, recordOf) ?? []),
    undistilled: plan.undistilled.flatMap(({ seed, evaluation }) => {
      const result = recordOf<'evaluation'>(evaluation)?.result;
      if (result === undefined) return [];
      return [{ seed, correct: result.correct, total: result.total, ...lossOf(result) }];
    }),
    errorStudy: proxy?.result.epsilonStudy ?? [],
    cost:
      cost === undefined ? [] : cost.result.arms.map((each, index) => ({ arm: plan.cost!.arms[index].arm, ...each })),
  };
}

const lossOf = ({ solutionLossNats }: StageResults['evaluation']): { lossNats?: number } =>
  solutionLossNats === undefined ? {} : { lossNats: solutionLossNats };

function collectPoint(point: PlannedPoint, recordOf: RecordOf): TradeoffPoint | undefined {
  const { arm, replicate, student } = point;
  const teacher = recordOf<'traces'>(point.teacher);
  const evaluation = recordOf<'evaluation'>(point.evaluation);
  const training = recordOf<'student'>(point.training);
  const traces = point.traces.map((id) => recordOf<'traces'>(id));
  const strength = point.strength === null ? undefined : recordOf<'strength'>(point.strength);
  const isWhole = teacher && evaluation && training && traces.every((each) => each !== undefined);
  if (!isWhole) return undefined;
  const stages = [teacher, evaluation, training, ...(traces as StageRecord<'traces'>[])];
  const { correct, total, finished } = evaluation.result;
  return {
    arm: arm.arm,
    settings: { ...settingsOf(arm), ...(strength && { lambda: strength.result.lambda }) },
    seed: replicate.seed,
    teacherSeed: replicate.teacher,
    teacher: { correct: teacher.result.correct, total: teacher.result.total },
    student: { correct, total, finished, ...lossOf(evaluation.result) },
    trainingMultiple: student.trainingMultiple,
    studentKind: isTilted(arm) ? arm.studentKind : 'blackBox',
    attack: student.attack,
    proxyKind: isTilted(arm) ? arm.proxyKind : 'default',
    meanKlNats: traces[0]!.result.meanKlNats,
    tokens: traces.reduce((sum, each) => sum + each!.result.tokens, 0),
    wallMs: Math.round(stages.reduce((sum, { wallMs }) => sum + wallMs, 0)),
  };
}

/** Time by kind of stage, in the order of the plan. */
export function collectCosts(plan: Plan, recordOf: RecordOf): StageCost[] {
  const costs = new Map<string, StageCost>();
  for (const { id, kind } of plan.stages) {
    const record = recordOf(id);
    if (record === undefined) continue;
    const before = costs.get(kind) ?? { kind, count: 0, wallMs: 0, engineMs: 0 };
    costs.set(kind, {
      kind,
      count: before.count + 1,
      wallMs: before.wallMs + Math.round(record.wallMs),
      engineMs: before.engineMs + Math.round(record.engineMs),
    });
  }
  return [...costs.values()];
}

/** What the run itself knows beside its points: what strengths were found, and what students know when asked otherwise. */
export function collectFacts(plan: Plan, recordOf: RecordOf): FactTable[] {
  return [strengthTable(plan, recordOf), tracesTable(plan, recordOf), probeTable(plan, recordOf)].filter(
    ({ rows }) => rows.length > 0,
  );
}

const replicateName = ({ replicate: { teacher, seed } }: PlannedPoint): string => `teacher ${teacher}, seed ${seed}`;

/** One row for each key, of the first point that has it. */
function rowsBy(
  points: readonly PlannedPoint[],
  row: (point: PlannedPoint) => { key: string; name: string; values: (number | string | null)[] } | undefined,
): FactTable['rows'][number][] {
  const rows = new Map<string, FactTable['rows'][number]>();
  for (const point of points) {
    const made = row(point);
    if (made !== undefined && !rows.has(made.key)) rows.set(made.key, { name: made.name, values: made.values });
  }
  return [...rows.values()];
}

function strengthTable({ points }: Plan, recordOf: RecordOf): FactTable {
  return {
    title: 'Strengths',
    caption:
      'λ found on calibration questions. “Measured” is nats a token, or accuracy lost, at that λ; where the support allows no more, the target is not reached.',
    columns: ['λ', 'measured', 'target', 'reached'],
    rows: rowsBy(points, (point) => {
      const found = point.strength === null ? undefined : recordOf<'strength'>(point.strength)?.result;
      if (found === undefined || !isTilted(point.arm)) return undefined;
      const [target] = Object.values(point.arm.strength) as number[];
      return {
        key: point.strength!,
        name: `${nameOf(point.arm)} (${replicateName(point)})`,
        values: [found.lambda, found.measured, target, found.isReached ? 'yes' : 'no'],
      };
    }),
  };
}

function tracesTable({ points }: Plan, recordOf: RecordOf): FactTable {
  return {
    title: 'Training traces',
    caption: 'What students learned from: how many of the traces are right, finished, and how long they are.',
    columns: ['right', 'finished', 'tokens a trace', 'KL, nats a token'],
    rows: rowsBy(points, (point) => {
      const result = recordOf<'traces'>(point.traces[0])?.result;
      if (result === undefined) return undefined;
      const share = (part: number) => Number((part / result.total).toFixed(4));
      return {
        key: point.traces[0],
        name: `${nameOf(point.arm)} (${replicateName(point)})`,
        values: [
          share(result.correct),
          share(result.finished),
          Number((result.tokens / result.total).toFixed(2)),
          result.meanKlNats === null ? null : Number(result.meanKlNats.toPrecision(4)),
        ],
      };
    }),
  };
}

function probeTable({ points, undistilled }: Plan, recordOf: RecordOf): FactTable {
  const resultOf = (id: string) => recordOf<'evaluation'>(id)?.result;
  const ids = [...undistilled.map(({ evaluation }) => evaluation), ...points.map(({ evaluation }) => evaluation)];
  const names = [...new Set(ids.flatMap((id) => Object.keys(resultOf(id)?.probes ?? {})))];
  const share = ({ correct, total }: { correct: number; total: number }) => Number((correct / total).toFixed(4));
  const valuesOf = (id: string) => {
    const result = resultOf(id);
    if (result === undefined || names.length === 0) return undefined;
    return [share(result), ...names.map((name) => (result.probes[name] ? share(result.probes[name]) : null))];
  };
  const bases = undistilled.flatMap(({ seed, evaluation }) => {
    const values = valuesOf(evaluation);
    return values === undefined ? [] : [{ name: `undistilled, seed ${seed}`, values }];
  });
  const students = rowsBy(points, (point) => {
    const values = valuesOf(point.evaluation);
    const { attack, trainingMultiple } = point.student;
    const how = [trainingMultiple === 1 ? '' : `, ${trainingMultiple}×`, attack === null ? '' : `, ${attack}`].join('');
    const name = `${nameOf(point.arm)}${how} (${replicateName(point)})`;
    return values && { key: point.evaluation, name, values };
  });
  return {
    title: 'Students asked otherwise',
    caption: 'Accuracy of students as they answer, and when they must answer in another way.',
    columns: ['as it answers', ...names],
    rows: names.length === 0 ? [] : [...bases, ...students],
  };
}
