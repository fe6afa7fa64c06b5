import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectCosts, collectFacts, collectTradeoff, type RecordOf } from './collect.js';
import { runSchema } from './config.js';
import { planRun } from './plan.js';
import type { StageKind, StageResults } from './stage.js';
import type { StageRecord } from './store.js';
import { plannedTask } from './task.fixture.js';

const config = runSchema.parse({
  schemaVersion: 1,
  name: 'collected',
  task: { kind: 'embedded' },
  replicates: [{ teacher: 3, seed: 7 }],
  traces: { count: 10 },
  training: {},
  cost: {},
  arms: [
    { arm: 'temperature', temperature: 1.5 },
    {
      arm: 'antidistillation',
      strength: { budgetNats: 0.2 },
      students: [{}, { attack: 'adapted', trainingMultiple: 3 }],
    },
  ],
});
const plan = await planRun(config, plannedTask());

const RESULTS: { readonly [K in StageKind]: StageResults[K] } = {
  model: {},
  traces: { correct: 9, total: 10, parsed: 10, finished: 8, tokens: 200, meanKlNats: 0.19, tokenizerFingerprint: '' },
  proxy: {
    lossNats: 1,
    responseTokens: 5,
    gradientNorm: 2,
    epsilon: 1e-4,
    epsilonStudy: [{ epsilon: 1e-4, error: 0.01 }],
  },
  strength: { lambda: 0.7, measured: 0.18, isReached: false, numMeasurements: 4 },
  student: { form: 'model', numRows: 10, numSteps: 2, lossNats: 1 },
  evaluation: { correct: 3, total: 12, parsed: 11, finished: 10, probes: { explicit: { correct: 6, total: 12 } } },
  shown: { traces: [] },
  cost: {
    plainTokensPerSecond: 100,
    arms: [
      { tokensPerSecond: 100, relativeToPlain: 1 },
      { tokensPerSecond: 50, relativeToPlain: 2 },
    ],
  },
};

/** Every stage done in a second, half of it in the engine, but for those named. */
const recordsWithout =
  (missing: readonly string[]): RecordOf =>
  <K extends StageKind>(id: string) => {
    const stage = plan.stages.find((each) => each.id === id);
    if (stage === undefined || missing.includes(id)) return undefined;
    const { kind, label, inputs, models, needs } = stage;
    const times = { wallMs: 1000, engineMs: 500, finishedAt: '' };
    return { id, kind, label, inputs, models, needs, result: RESULTS[kind], ...times } as unknown as StageRecord<K>;
  };
const recordOf = recordsWithout([]);
const UNNAMED = { commit: null, precision: 'float32' } as const;

test('a point is read from its stages: λ as it was found, tokens of all its traces, time of all that it took', () => {
  const { points, undistilled, errorStudy, cost, commit, precision } = collectTradeoff(plan, recordOf, {
    commit: 'abc',
    precision: 'bfloat16',
  });
  const [plain, defended, adapted] = points;
  assert.deepEqual(plain, {
    arm: 'temperature',
    settings: { temperature: 1.5, name: 'temperature 1.5' },
    ...{ seed: 7, teacherSeed: 3, teacher: { correct: 9, total: 10 } },
    student: { correct: 3, total: 12, finished: 10 },
    ...{ trainingMultiple: 1, studentKind: 'blackBox', attack: null, proxyKind: 'default' },
    ...{ meanKlNats: 0.19, tokens: 200, wallMs: 4000 },
  });
  assert.deepEqual(
    [defended.settings.lambda, defended.settings.budgetNats, defended.settings.strength],
    [0.7, 0.2, undefined],
  );
  assert.deepEqual(
    [adapted.attack, adapted.trainingMultiple, adapted.tokens, adapted.wallMs],
    ['adapted', 3, 400, 5000],
  );
  assert.deepEqual(undistilled, [{ seed: 7, correct: 3, total: 12 }]);
  assert.deepEqual(errorStudy, RESULTS.proxy.epsilonStudy);
  assert.deepEqual(
    cost.map(({ arm, relativeToPlain }) => [arm, relativeToPlain]),
    [
      ['temperature', 1],
      ['antidistillation', 2],
    ],
  );
  assert.deepEqual([commit, precision], ['abc', 'bfloat16']);
});

test('losses on solutions are told of students before and after training, where they were measured', () => {
  const scored: RecordOf = <K extends StageKind>(id: string) => {
    const record = recordOf<K>(id);
    if (record?.kind !== 'evaluation') return record;
    return { ...record, result: { ...record.result, solutionLossNats: 0.75 } };
  };
  const { points, undistilled } = collectTradeoff(plan, scored, UNNAMED);
  assert.ok([...points.map(({ student }) => student), ...undistilled].every(({ lossNats }) => lossNats === 0.75));
});

test('of a run in progress only what is whole is there', () => {
  const nothing = collectTradeoff(plan, () => undefined, UNNAMED);
  assert.deepEqual(
    [nothing.points, nothing.undistilled, nothing.errorStudy, nothing.cost, collectFacts(plan, () => undefined)],
    [[], [], [], [], []],
  );
  const [first] = plan.points;
  for (const id of [first.teacher, first.training, first.evaluation, ...first.traces]) {
    const { points } = collectTradeoff(plan, recordsWithout([id]), UNNAMED);
    assert.ok(!points.some(({ arm }) => arm === 'temperature'), id);
  }
});

test('times add up by kind of stage', () => {
  const costs = collectCosts(plan, recordOf);
  assert.deepEqual(
    [costs.reduce((sum, { count }) => sum + count, 0), costs.every(({ wallMs, count }) => wallMs === 1000 * count)],
    [plan.stages.length, true],
  );
  assert.ok(costs.every(({ engineMs, count }) => engineMs === 500 * count));
});

test('facts tell the strengths that were not reached and what students know when asked otherwise, each once', () => {
  const facts = collectFacts(plan, recordOf);
  const rowsOf = (title: string) => facts.find((each) => each.title === title)!.rows;
  assert.deepEqual(rowsOf('Strengths'), [
    { name: 'antidistillation, 0.2 nats (teacher 3, seed 7)', values: [0.7, 0.18, 0.2, 'no'] },
  ]);
  assert.equal(rowsOf('Training traces').length, 2);
  assert.deepEqual(
    rowsOf('Students asked otherwise').map(({ name, values }) => [name, ...values]),
    [
      ['undistilled, seed 7', 0.25, 0.5],
      ['temperature 1.5 (teacher 3, seed 7)', 0.25, 0.5],
      ['antidistillation, 0.2 nats (teacher 3, seed 7)', 0.25, 0.5],
      ['antidistillation, 0.2 nats, 3×, adapted (teacher 3, seed 7)', 0.25, 0.5],
    ],
  );
});
