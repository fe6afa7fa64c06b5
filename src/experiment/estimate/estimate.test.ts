import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import { parseHuggingFaceConfig } from '../../model/hugging-face-config.js';
import { countParameters } from '../../model/parameters.js';
import { effectiveConfig, runSchema } from '../config.js';
import { openTask } from '../open-task.js';
import { planRun } from '../plan.js';
import { describeEstimate, estimateRun } from './estimate.js';
import { samplingFlop, trainingFlop } from './flop.js';
import { measureRates } from './rates.js';

const recipes = join(import.meta.dirname, '../../../recipes');
const rates = { sampledFlopPerSecond: 50e9, trainedFlopPerSecond: 100e9, source: 'Assumed.' };

async function estimateOf(name: string, isQuick = false) {
  const config = effectiveConfig(runSchema.parse(parse(readFileSync(join(recipes, name), 'utf8'))), isQuick);
  const task = await openTask(config.task, { isPlan: true });
  try {
    const { stages } = await planRun(config, task);
    return { config, stages, estimate: await estimateRun({ config, task, stages }, rates) };
  } finally {
    task.dispose();
  }
}

const PAPER = ['paper-gsm8k.yaml', 'paper-math.yaml', 'paper-mmlu.yaml'];

describe('the recipes', () => {
  for (const name of PAPER) {
    test(`${name} has the settings of the paper, and is planned without models and data`, async () => {
      const { config, estimate } = await estimateOf(name);
      const { training, task } = config;
      assert.deepEqual(
        [training.lora?.rank, training.lora?.alpha, training.learningRate, training.weightDecay, training.gradientClip],
        [128, 128, 5e-4, 0.1, 1],
      );
      assert.deepEqual([training.schedule, training.batchSize, training.epochs], ['cosine', 32, 4]);
      assert.ok(task.kind === 'dataset' && task.forceAnswers);
      assert.equal(task.models.proxyTokenizer, 'except-special');
      assert.equal(task.maxTokens, name === 'paper-math.yaml' ? 2048 : 1024);
      const shares = task.sources.find(({ splits }) => splits.distil !== undefined)!.splits;
      assert.ok(Math.abs(shares.distil! / (shares.distil! + shares.holdout!) - 0.7) < 1e-9);
      assert.ok(config.arms.every((arm) => !('strength' in arm) || arm.temperature === 0.6));
      const sizes = Object.fromEntries(estimate.models.map((model) => [model.name, model.numParameters]));
      // As published: 7.62 B, 3.09 B and 3.21 B.
      assert.deepEqual(
        ['teacher', 'proxy', 'student'].map((role) => ((sizes[role] ?? 0) / 1e9).toFixed(2)),
        ['7.62', '3.09', '3.21'],
      );
      assert.ok(estimate.totalSeconds! > 86_400 && estimate.peakBytes! > 4 * 7.6e9);
      const told = describeEstimate(estimate, { cores: 2, freeBytes: 16e9 });
      assert.match(told, /teacher +7\.62 B parameters, 30 GB/);
      assert.match(told, /does not fit/);
    });
  }

  test('gsm8k-smollm2.yaml is planned whole, and its slice has tens of questions', async () => {
    const whole = await estimateOf('gsm8k-smollm2.yaml');
    const slice = await estimateOf('gsm8k-smollm2.yaml', true);
    const sizes = Object.fromEntries(whole.estimate.models.map((model) => [model.name, model.numParameters]));
    assert.equal(sizes.teacher, 134_515_008);
    assert.ok(sizes.proxy! < sizes.student! && sizes.student! < sizes.teacher!);
    assert.ok(slice.estimate.totalSeconds! < 0.2 * whole.estimate.totalSeconds!);
    assert.ok(slice.estimate.stages.every(({ kind, rows }) => kind === 'model' || rows <= 100));
  });

  test('wordproblems-smollm2.yaml teaches the student to be its teacher, and cuts its proxy from it', async () => {
    const { config, estimate } = await estimateOf('wordproblems-smollm2.yaml');
    const sizes = Object.fromEntries(estimate.models.map((model) => [model.name, model.numParameters]));
    assert.equal(sizes.student, 134_515_008);
    assert.ok(sizes.teacher === sizes.student && sizes.proxy! < 0.75 * sizes.teacher!);
    assert.ok(config.task.kind === 'dataset' && config.task.splitBy === 'template');
    assert.ok(config.replicates.length >= 2);
  });
});

describe('the estimate', () => {
  test('counts what a decoder of few weights multiplies', () => {
    const config = parseHuggingFaceConfig(
      {
        model_type: 'llama',
        vocab_size: 100,
        hidden_size: 8,
        intermediate_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        tie_word_embeddings: false,
      },
      'test',
    );
    // q 8 × 8, k and v 4 × 8 each, o 8 × 8; three of the MLP 16 × 8; two norms of 8; the last norm; the head.
    const weights = 2 * (64 + 32 + 32 + 64 + 3 * 128 + 16) + 8 + 800;
    assert.equal(countParameters(config), weights + 800);
    // Scores and the weighted sum: for each layer, head and context position two products of 4.
    assert.equal(samplingFlop(config, 10), 2 * weights + 2 * 2 * 10 * 2 * 4 * 2);
    assert.equal(trainingFlop(config, 20), 3 * samplingFlop(config, 10));
  });

  test('divides tokens by the rate, and does not know what nobody described', async () => {
    const { config, stages } = await estimateOf('gsm8k-smollm2.yaml', true);
    const task = await openTask(config.task, { isPlan: true });
    const estimate = await estimateRun({ config, task, stages }, rates);
    const faster = await estimateRun({ config, task, stages }, { ...rates, sampledFlopPerSecond: 100e9 });
    const teacher = estimate.stages.findIndex(({ label }) => label.startsWith('holdout'));
    const { seconds, sampledTokens } = estimate.stages[teacher];
    const context = task.expectedTokens.prompt + task.expectedTokens.response / 2;
    // 134.5 M weights of which all multiply (the head is tied), and attention of 30 layers of 9 heads of 64.
    const flop = 2 * 134_515_008 + 4 * 30 * 9 * 64 * context;
    const saved = seconds! - faster.stages[teacher].seconds!;
    assert.ok(Math.abs(saved / ((sampledTokens * flop) / 100e9) - 1) < 1e-9);
    assert.equal(sampledTokens, config.holdout.count * task.expectedTokens.response);
    const unknown = structuredClone(config);
    assert.ok(unknown.task.kind === 'dataset');
    unknown.task.models.teacher = 'someone/something';
    const other = await openTask(unknown.task, { isPlan: true });
    const without = await estimateRun(
      { config: unknown, task: other, stages: (await planRun(unknown, other)).stages },
      rates,
    );
    assert.equal(without.totalSeconds, undefined);
    assert.match(describeEstimate(without, { cores: 2, freeBytes: 1e9 }), /teacher +size not known/);
  });

  test('rests on rates that a processor can have', async () => {
    const measured = await measureRates({ batch: 8, precision: 'float32' });
    for (const rate of [measured.sampledFlopPerSecond, measured.trainedFlopPerSecond]) {
      assert.ok(rate > 1e8 && rate < 1e13, `${rate}`);
    }
  });
});
