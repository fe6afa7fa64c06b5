import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ConfigError } from '../support/errors.js';
import { type RunConfig, runSchema } from './config.js';
import { planRun } from './plan.js';
import { type AnyStage, dependenciesOf } from './stage.js';
import { plannedTask } from './task.fixture.js';
import type { Task } from './task.js';

const base = runSchema.parse({
  schemaVersion: 1,
  name: 'planned',
  task: { kind: 'embedded' },
  replicates: [
    { teacher: 1, seed: 1 },
    { teacher: 1, seed: 2 },
  ],
  traces: { count: 100 },
  training: {},
  cost: {},
  arms: [
    { arm: 'temperature' },
    { arm: 'maskedTemperature', temperature: 2, students: [{}, { trainingMultiple: 3 }, { attack: 'adapted' }] },
    { arm: 'antidistillation', strength: { budgetNats: 0.2 } },
    { arm: 'antidistillation', strength: { lambda: 0.5 }, proxyKind: 'other', replicates: 1 },
    { arm: 'antidistillation', strength: { budgetNats: 0.3 }, studentKind: 'whiteBox' },
    { arm: 'permutation', strength: { budgetNats: 0.2 } },
    { arm: 'rule', words: ['and'], students: [{ replicates: 1 }] },
    { arm: 'greedy', replicates: 1 },
  ],
});

// biome-ignore lint/suspicious/noExplicitAny: leaves of a configuration are changed by their path
type Draft = any;

function changed(change: (draft: Draft) => void): RunConfig {
  const draft = structuredClone(base);
  change(draft);
  return draft;
}

const stagesOf = async (config: RunConfig, task: Task = plannedTask()) => (await planRun(config, task)).stages;

/** Labels of the stages whose ids a change replaces. */
async function replacedBy(change: (draft: Draft) => void, task?: Task): Promise<string[]> {
  const after = new Set((await stagesOf(changed(change), task)).map(({ id }) => id));
  return (await stagesOf(base)).filter(({ id }) => !after.has(id)).map(({ label }) => label);
}

const all = (await stagesOf(base)).map(({ label }) => label);
const isTilted = (label: string) => /antidistillation|permutation/.test(label);
const isPortrait = (label: string) => label.startsWith('portrait');

/** What each leaf decides, said by what a label must be: from the meaning of the setting, not from the plan. */
const DEPENDENTS: readonly (readonly [
  name: string,
  change: (draft: Draft) => void,
  isReplaced: (label: string) => boolean,
])[] = [
  ['name', (draft) => (draft.name = 'other'), () => false],
  ['workers', (draft) => (draft.workers = 7), () => false],
  ['memoryGiB', (draft) => (draft.memoryGiB = 7), () => false],
  ['precision', (draft) => (draft.precision = 'bfloat16'), () => true],
  ['quick', (draft) => (draft.quick = { traces: { count: 3 } }), () => false],
  ['evaluation.count', (draft) => (draft.evaluation.count = 299), (label) => /^(evaluation|teacher)/.test(label)],
  [
    'evaluation.purpose',
    (draft) => (draft.evaluation.purpose = 'sealed'),
    (label) => /^(evaluation|teacher)/.test(label),
  ],
  [
    'training.epochs',
    (draft) => (draft.training.epochs = 2),
    (label) => /^(student|evaluation)/.test(label) && !label.includes('before training'),
  ],
  [
    'training.learningRate',
    (draft) => (draft.training.learningRate = 1e-3),
    (label) => /^(student|evaluation)/.test(label) && !label.includes('before training'),
  ],
  [
    'traces.count',
    (draft) => (draft.traces.count = 99),
    (label) => /^(traces|student|shown|evaluation)/.test(label) && !label.includes('before training'),
  ],
  [
    'holdout.count',
    (draft) => (draft.holdout.count = 499),
    (label) => /^(holdout|proxy gradient|strength|cost|shown)/.test(label) || (isTilted(label) && !isPortrait(label)),
  ],
  [
    'calibration.count',
    (draft) => (draft.calibration.count = 199),
    (label) => /^(strength|cost)/.test(label) || (isTilted(label) && !label.includes('λ')),
  ],
  ['cost.rounds', (draft) => (draft.cost.rounds = 9), (label) => label.startsWith('cost')],
  ['shownTraces', (draft) => (draft.shownTraces = 2), (label) => label.startsWith('shown')],
  [
    'words of the rule',
    (draft) => (draft.arms[6].words = ['or']),
    (label) => label.includes('rule: and') || label.startsWith('cost'),
  ],
  [
    'support of the permutation',
    (draft) => (draft.arms[5].support = 0.1),
    (label) => /permutation/.test(label) || label.startsWith('cost'),
  ],
  [
    'temperature of the masked arm',
    (draft) => (draft.arms[1].temperature = 3),
    (label) => label.includes('temperature 2, masked') || label.startsWith('cost'),
  ],
  [
    'seed of the second replicate',
    (draft) => (draft.replicates[1].seed = 5),
    (label) => /seed 2$|seed 2,|student 2|proxy 2/.test(label),
  ],
];

describe('what a stage is called', () => {
  for (const [name, change, isReplaced] of DEPENDENTS) {
    test(`changes with ${name} exactly where the result depends on it`, async () => {
      assert.deepEqual(await replacedBy(change), all.filter(isReplaced));
    });
  }

  test('changes with the questions and with the weights of its models, and with nothing else of the task', async () => {
    const questions = plannedTask({ identity: 'other questions' });
    const withQuestions = await replacedBy(() => {}, questions);
    assert.deepEqual(withQuestions, all);
    const moved = plannedTask({
      description: 'other words',
      modelSource: async (request) =>
        ({
          ...(await plannedTask().modelSource(request)),
          ...(request.role === 'student' && request.seed === 2 && { identity: 'other weights' }),
          location: '/elsewhere',
        }) as Awaited<ReturnType<Task['modelSource']>>,
    });
    const withWeights = await replacedBy(() => {}, moved);
    assert.deepEqual(
      withWeights,
      all.filter((label) => {
        const isWhiteBox = label.includes('white box') || label.includes('student 2') || /0\.3 nats/.test(label);
        const isOfStudent = /^(student|evaluation)/.test(label);
        return /seed 2|student 2/.test(label) && (isWhiteBox || isOfStudent);
      }),
    );
  });

  test('tells where proxies may have other special tokens than the teacher: in all that their gradients decide', async () => {
    const [, , isReplaced] = DEPENDENTS.find(([name]) => name === 'holdout.count')!;
    assert.deepEqual(
      await replacedBy(() => {}, plannedTask({ proxyTokenizer: 'except-special' })),
      all.filter((label) => isReplaced(label) && !label.startsWith('holdout')),
    );
  });

  test('is that of what it needs, all the way up: the same ids above and below, or other ones', async () => {
    const numbers = fc.record({
      holdout: fc.integer({ min: 1, max: 3 }),
      traces: fc.integer({ min: 1, max: 3 }),
      evaluation: fc.integer({ min: 1, max: 3 }),
      epochs: fc.integer({ min: 1, max: 2 }),
      support: fc.constantFrom(0.05, 0.1),
    });
    const configOf = (values: {
      holdout: number;
      traces: number;
      evaluation: number;
      epochs: number;
      support: number;
    }) =>
      changed((draft) => {
        draft.holdout.count = values.holdout;
        draft.traces.count = values.traces;
        draft.evaluation.count = values.evaluation;
        draft.training.epochs = values.epochs;
        for (const arm of draft.arms) if ('support' in arm) arm.support = values.support;
      });
    await fc.assert(
      fc.asyncProperty(numbers, numbers, async (a, b) => {
        const [first, second] = [await stagesOf(configOf(a)), await stagesOf(configOf(b))];
        const ids = new Set(second.map(({ id }) => id));
        for (const stage of first) {
          const above = dependenciesOf(stage);
          if (ids.has(stage.id))
            assert.ok(
              above.every((id) => ids.has(id)),
              stage.label,
            );
        }
      }),
      { numRuns: 8 },
    );
  });
});

describe('the plan', () => {
  test('names each stage once, behind those it needs, and every point by stages of the plan', async () => {
    const { stages, points, undistilled, portraits, shown, cost } = await planRun(base, plannedTask());
    const seen = new Set<string>();
    for (const stage of stages) {
      assert.ok(!seen.has(stage.id));
      for (const id of dependenciesOf(stage)) assert.ok(seen.has(id), `${stage.label} stands before what it needs`);
      seen.add(stage.id);
    }
    const named = [
      ...points.flatMap(({ teacher, traces, training, evaluation, strength }) => [
        teacher,
        ...traces,
        training,
        evaluation,
        ...(strength ?? []),
      ]),
      ...[...undistilled.map(({ evaluation }) => evaluation), ...portraits.map(({ answers }) => answers)],
      ...[...shown.map((each) => each.shown), cost!.stage],
    ].filter((id) => id.length > 1);
    for (const id of named) assert.ok(seen.has(id), id);
    // 2 · (1 + 3 + 1 + 1 + 1) + λ + rule + greedy: students and replicates that are limited count once.
    assert.equal(points.length, 17);
  });

  test('measures solutions of students alone, and a base that seeds share once', async () => {
    const own = plannedTask();
    const task = plannedTask({
      solutions: { purposes: ['test'], read: async () => [] },
      modelSource: (request) =>
        own.modelSource(request.role === 'student' ? { ...request, seed: 1, teacherSeed: 1 } : request),
    });
    const { stages, points, undistilled } = await planRun(base, task);
    assert.equal(undistilled.length, 1);
    assert.equal((await planRun(base, own)).undistilled.length, 2);
    const scored = stages.filter((stage) => stage.kind === 'evaluation' && stage.inputs.scoresSolutions === true);
    assert.deepEqual(
      scored.map(({ id }) => id).sort(),
      [...points, ...undistilled].map(({ evaluation }) => evaluation).sort(),
    );
  });

  test('gives every arm of a replicate the same random numbers and base, and a white box the base as its proxy', async () => {
    const { stages, points } = await planRun(base, plannedTask());
    const byId = new Map(stages.map((stage) => [stage.id, stage]));
    for (const { replicate, traces, training, arm } of points) {
      const stage = byId.get(traces[0]) as Extract<AnyStage, { kind: 'traces' }>;
      const student = byId.get(training) as Extract<AnyStage, { kind: 'student' }>;
      assert.equal(stage.inputs.seed, replicate.seed);
      assert.deepEqual(student.models.base, {
        location: `/student-${replicate.seed}-default`,
        identity: `student-${replicate.seed}-default`,
      });
      const isWhiteBox = arm.arm === 'antidistillation' && arm.studentKind === 'whiteBox';
      if (isWhiteBox) assert.deepEqual(stage.models.proxy, student.models.base);
    }
  });

  test('lets an adaptive student have its further and its clean traces', async () => {
    const { stages, points } = await planRun(base, plannedTask());
    const adapted = points.find(({ student }) => student.attack === 'adapted')!;
    const byId = new Map(stages.map((stage) => [stage.id, stage]));
    const ranges = adapted.traces.map((id) => {
      const { inputs } = byId.get(id) as Extract<AnyStage, { kind: 'traces' }>;
      return [inputs.from, inputs.to];
    });
    assert.deepEqual(ranges, [
      [0, 100],
      [100, 200],
    ]);
    const clean = byId.get(byId.get(adapted.training)!.needs.clean) as Extract<AnyStage, { kind: 'traces' }>;
    assert.deepEqual([clean.inputs.to, clean.inputs.sampling], [10, { temperature: 1, minP: 0 }]);
  });

  test('has models that a task makes as stages, behind the holdout where they learn from it', async () => {
    const task = plannedTask({
      modelSource: async (request) => {
        if (request.role !== 'proxy') return plannedTask().modelSource(request);
        const from = request.kind === 'other' ? [{ ...request, kind: 'default' }] : [];
        return { kind: 'build', recipe: request.kind, from, usesHoldout: request.kind === 'other', work: {} };
      },
    });
    const stages = await stagesOf(base, task);
    const models = stages.filter(({ kind }) => kind === 'model');
    assert.deepEqual(models.map(({ label }) => label).sort(), [
      'model: proxy 1',
      'model: proxy 1 (other), teacher 1',
      'model: proxy 2',
      'model: proxy 2 (other), teacher 1',
    ]);
    const other = models.find(({ label }) => label === 'model: proxy 1 (other), teacher 1')!;
    const above = dependenciesOf(other).map((id) => stages.find((stage) => stage.id === id)!.label);
    assert.deepEqual(above, ['model: proxy 1', 'holdout: temperature 1, teacher 1, seed 1']);
  });

  test('refuses an attack that the task does not have', async () => {
    const config = changed((draft) => (draft.arms[0].students = [{ trainingMultiple: 1, attack: 'adaptd' }]));
    await assert.rejects(planRun(config, plannedTask()), (error) => {
      return error instanceof ConfigError && /no attack 'adaptd'\. Did you mean "adapted"\?/.test(error.message);
    });
  });
});
