import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createCompiler, effectivePrecision } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { createModel, type LanguageModel, withLora } from '../../model/language-model.js';
import { CheckpointError } from '../../support/errors.js';
import { createRandom } from '../../support/random.js';
import type { TrainingExample } from '../../training/batches.js';
import type { StepRow } from './alarms.js';
import { gadSchema } from './config.js';
import { createTransformerDiscriminator } from './discriminator.js';
import { smallConfig } from './gad.fixture.js';
import { planGad, planStep } from './plan.js';
import { type GadHooks, runGad } from './run-gad.js';

const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
const halfCompiler = createCompiler(runtime, { precision: 'bfloat16' });
const precisions = [
  { of: compiler, precision: 'float32', skip: false },
  { of: halfCompiler, precision: 'bfloat16', skip: effectivePrecision(runtime, 'bfloat16') !== 'bfloat16' },
] as const;
let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'azeotrope-gad-'));
});
after(async () => {
  await rm(root, { recursive: true });
  compiler.dispose();
  halfCompiler.dispose();
  runtime.dispose();
});

/** The teacher counts up from the last word of the prompt and stops at 10. */
const rows: TrainingExample[] = Array.from({ length: 10 }, (_, row) => {
  const prompt = [row % 7, (3 * row) % 7];
  const response = Array.from({ length: 4 }, (_, index) => Math.min(10, prompt[1] + 1 + index));
  return { id: `row-${row}`, tokens: [...prompt, ...response, 11], responseStart: 2 };
});

type Changes = Parameters<typeof gadSchema.parse>[0];
const settings = (changes: Changes = {}) =>
  gadSchema.parse({
    epochs: 2,
    batchPrompts: 5,
    groupSize: 3,
    maxTokens: 8,
    learningRate: 3e-3,
    gradientClip: 1,
    microBatchTokens: 64,
    evaluateEverySteps: 2,
    checkpointEverySteps: 1,
    warmup: { epochs: 2, discriminatorOnlySteps: 1, learningRate: 2e-2, groupSize: 2 },
    discriminator: { learningRate: 5e-3, gradientClip: 1, spectralNormalization: true, dropout: 0.1 },
    ...(changes as object),
  });

async function run(changes: Changes = {}, hooks: GadHooks = {}, of = compiler) {
  const student: LanguageModel = createModel(of, smallConfig, createRandom('student'));
  const discriminator = createTransformerDiscriminator(of, {
    config: smallConfig,
    from: student,
    readout: 'last',
    random: createRandom('critic'),
  });
  try {
    const result = await runGad(student, discriminator, rows, settings(changes), hooks);
    const weights = [...student.parameters].map(([name, { data }]) => [name, [...data]]);
    return { ...result, weights };
  } finally {
    student.dispose();
    discriminator.dispose();
  }
}

const timeless = (all: readonly StepRow[]) =>
  all.map(({ rolloutMs, scoreMs, studentMs, discriminatorMs, ...row }) => row);

describe('the plan of a run', () => {
  test('warm-up, then adversarial epochs; the student waits while the discriminator learns alone', () => {
    const config = settings();
    const plan = planGad(config, rows.length);
    assert.deepEqual(plan, { stepsPerEpoch: 2, warmupSteps: 4, totalSteps: 8 });
    const steps = [1, 2, 4, 5, 8].map((step) => planStep(config, plan, step));
    assert.deepEqual(
      steps.map(({ phase }) => phase),
      ['warmup', 'warmup', 'warmup', 'adversarial', 'adversarial'],
    );
    assert.deepEqual(
      steps.map(({ updatesStudent }) => updatesStudent),
      [false, true, true, true, true],
    );
    assert.deepEqual(
      steps.map(({ epoch, batchIndex }) => [epoch, batchIndex]),
      [
        [0, 0],
        [0, 1],
        [1, 1],
        [2, 0],
        [3, 1],
      ],
    );
  });

  test('every ablation is a setting', () => {
    const first = (changes: Changes, step: number) => {
      const config = settings(changes);
      const { phase, updatesStudent, updatesDiscriminator } = planStep(config, planGad(config, rows.length), step);
      return [phase, updatesStudent, updatesDiscriminator];
    };
    const warmup = { epochs: 1, discriminatorOnlySteps: 1 };
    assert.deepEqual(first({ warmup: { ...warmup, generator: false } }, 2), ['warmup', false, true]);
    assert.deepEqual(first({ warmup: { ...warmup, discriminator: false } }, 1), ['warmup', true, false]);
    assert.deepEqual(first({ warmup: { ...warmup, generator: false, discriminator: false } }, 1), [
      'adversarial',
      true,
      true,
    ]);
    assert.deepEqual(first({ discriminator: { isFrozen: true } }, 5), ['adversarial', true, false]);
  });
});

describe('a run', () => {
  for (const { of, precision, skip } of precisions)
    test(`stopped after any step and run again it is the run straight through, bit for bit (${precision})`, {
      skip,
    }, async () => {
      const evaluate: GadHooks['evaluate'] = async (_, step) => ({ correct: step === 6 ? 9 : 5, total: 10 });
      const straight = await run({}, { evaluate }, of);
      assert.equal(straight.isComplete, true);
      assert.equal(straight.rows.length, 8);
      assert.deepEqual([straight.bestStep, straight.bestValidation], [6, { correct: 9, total: 10 }]);
      const folder = join(root, precision);
      for (const stopAfter of [1, 4, 6]) {
        const controller = new AbortController();
        const onStep = ({ step }: StepRow) => step === stopAfter && controller.abort();
        const part = await run(
          {},
          { folder, evaluate, onStep: (row) => void onStep(row), signal: controller.signal },
          of,
        );
        assert.deepEqual([part.numSteps, part.isComplete], [stopAfter, false]);
      }
      const resumed = await run({}, { folder, evaluate }, of);
      assert.deepEqual(timeless(resumed.rows), timeless(straight.rows));
      assert.deepEqual(resumed.weights, straight.weights);
      const [first, second] = straight.rows.filter(({ phase }) => phase === 'adversarial');
      assert.deepEqual([first.klNats, first.clippedFraction], [0, 0], 'the student is the reference');
      assert.ok(second.klNats! > 0);
      const other = precisions.find((one) => one.of !== of)!;
      if (!other.skip) await assert.rejects(run({}, { folder, evaluate }, other.of), CheckpointError);
      const lines = (await readFile(join(folder, 'steps.jsonl'), 'utf8')).trim().split('\n');
      assert.deepEqual(
        lines.map((line) => JSON.parse(line).step),
        [1, 2, 3, 4, 5, 6, 7, 8],
      );
    });

  test('with several updates a rollout, fewer where there are fewer prompts, it resumes to the bit', async () => {
    // Five prompts in parts of two: three updates, not four.
    const changes = { updatesPerRollout: 4 };
    const straight = await run(changes);
    const folder = join(root, 'updates');
    const controller = new AbortController();
    await run(changes, { folder, signal: controller.signal, onStep: ({ step }) => step === 6 && controller.abort() });
    const resumed = await run(changes, { folder });
    assert.deepEqual(timeless(resumed.rows), timeless(straight.rows));
    assert.deepEqual(resumed.weights, straight.weights);
  });

  test('adversarial steps begin with the last student of the warm-up, or with the best where it says so', async () => {
    for (const [keepsBest, beginsWith] of [
      [false, 4],
      [true, 2],
    ] as const) {
      const seen = new Map<number, number[]>();
      const evaluate: GadHooks['evaluate'] = async (student, step) => {
        seen.set(step, [...student.parameters.get('model.norm.weight')!.data]);
        return { correct: step === 2 ? 9 : 5, total: 10 };
      };
      // So slow that adversarial steps move nothing.
      const warmup = { epochs: 2, discriminatorOnlySteps: 0, learningRate: 2e-2, groupSize: 2, keepsBest };
      await run({ learningRate: 1e-30, warmup }, { evaluate });
      assert.notDeepEqual(seen.get(2), seen.get(4));
      assert.deepEqual(seen.get(6), seen.get(beginsWith));
    }
  });

  test('the warm-up ends at the share of its learning rate that it is told: at none the student stands still', async () => {
    for (const [finalFraction, isMoved] of [
      [0, false],
      [0.5, true],
    ] as const) {
      const seen = new Map<number, number[]>();
      const evaluate: GadHooks['evaluate'] = async (student, step) => {
        seen.set(step, [...student.parameters.get('model.norm.weight')!.data]);
        return { correct: 1, total: 2 };
      };
      const warmup = { epochs: 2, learningRate: 2e-2, groupSize: 2, schedule: 'linear', finalFraction } as const;
      await run({ evaluateEverySteps: 1, warmup: { ...warmup, discriminatorOnlySteps: 0 } }, { evaluate });
      assert.notDeepEqual(seen.get(2), seen.get(3));
      assert.equal(JSON.stringify(seen.get(3)) !== JSON.stringify(seen.get(4)), isMoved, String(finalFraction));
    }
  });

  test('the discriminator has a rate of its own in the warm-up, and only there', async () => {
    // Two steps an epoch see every response of the teacher once; the update comes after the score.
    const changes = async (warmupRate: number, rate: number) => {
      const warmup = { epochs: 2, discriminatorOnlySteps: 1, learningRate: 2e-2, groupSize: 2 };
      const { rows: steps } = await run({
        warmup: { ...warmup, discriminatorLearningRate: warmupRate },
        discriminator: { learningRate: rate, gradientClip: 1 },
      });
      const scores = [0, 1, 2, 3].map((epoch) => {
        const [first, second] = steps.filter((row) => row.epoch === epoch);
        return (first.teacherRewardMean! + second.teacherRewardMean!) / 2;
      });
      return scores.slice(1).map((score, index) => Math.abs(score - scores[index]) > 1e-5);
    };
    assert.deepEqual(await changes(1e-30, 5e-3), [false, true, true]);
    assert.deepEqual(await changes(5e-3, 1e-30), [true, true, false]);
  });

  test('sampling and training agree to 1e-4; times, lengths and scores are told for every step', async () => {
    const { rows: steps } = await run();
    for (const row of steps.filter(({ phase }) => phase === 'adversarial')) {
      assert.ok(row.samplingDifferenceNats! < 1e-4);
      assert.ok(row.numTokens > 0 && row.responseLength! > 0 && row.rolloutMs > 0);
    }
    assert.ok(steps.every((row) => Object.values(row).every((value) => !Number.isNaN(value))));
    assert.equal(steps[0].studentLossNats, null);
  });

  test('of a student with adapters these alone change, and it resumes as one without', async () => {
    const lora = { rank: 2, alpha: 4, targetModules: ['q_proj', 'down_proj'] };
    const trainAdapters = async (hooks: GadHooks) => {
      const base = createModel(compiler, smallConfig, createRandom('student'));
      const before = new Map([...base.parameters].map(([name, { data }]) => [name, data.slice()]));
      const student = withLora(base, lora, { random: createRandom('adapters') });
      const discriminator = createTransformerDiscriminator(compiler, {
        config: smallConfig,
        from: student,
        readout: 'last',
        random: createRandom('critic'),
      });
      const { rows: steps } = await runGad(student, discriminator, rows, settings(), hooks);
      for (const [name, data] of before) assert.deepEqual(student.parameters.get(name)!.data, data, name);
      const adapters = [...student.parameters].filter(([name]) => name.includes('lora_'));
      const values = adapters.map(([name, { data }]) => [name, [...data]] as const);
      student.dispose();
      discriminator.dispose();
      return { steps: timeless(steps), values };
    };
    const straight = await trainAdapters({});
    assert.equal(straight.values.length, 4);
    assert.ok(
      straight.values.every(([, data]) => data.some((value) => value !== 0)),
      'B starts at 0 and is learned',
    );
    assert.ok(straight.steps.at(-1)!.klNats! > 0, 'the reference stays behind');
    const folder = join(root, 'adapters');
    const controller = new AbortController();
    await trainAdapters({ folder, signal: controller.signal, onStep: ({ step }) => step === 6 && controller.abort() });
    assert.deepEqual(await trainAdapters({ folder }), straight);
  });

  test('ROUGE-L is that of the responses to the teacher’s, where there are responses', async () => {
    const { rows: steps } = await run({ warmup: { epochs: 1, discriminator: false } });
    assert.deepEqual(
      steps.map(({ rougeL }) => rougeL !== null && rougeL >= 0 && rougeL <= 1),
      [false, false, true, true, true, true],
    );
  });

  test('a frozen discriminator, and one that is not warmed up, stay as they were', async () => {
    const { rows: frozen } = await run({ discriminator: { isFrozen: true } });
    assert.ok(frozen.every((row) => (row.phase === 'warmup') === (row.discriminatorGradientNorm !== null)));
    const { rows: alone } = await run({ warmup: { epochs: 1, discriminator: false } });
    assert.deepEqual(
      alone.slice(0, 2).map(({ rewardMean, numTokens }) => [rewardMean, numTokens]),
      [
        [null, 0],
        [null, 0],
      ],
    );
  });

  test('a diverging run stops with step, part and what to change', async () => {
    await assert.rejects(
      run({ learningRate: 1e30, gradientClip: 1e30, epochs: 20 }),
      /Step \d+ \(adversarial\): .* not a finite number.*Lower learningRate|logits are not finite/s,
    );
  });
});
