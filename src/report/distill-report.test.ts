import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { Distill } from '../experiment/distill/records.js';
import { distillPage, writeDistillReport } from './distill-report.js';

type Step = Distill['curves'][number]['steps'][number];

const steps: Step[] = Array.from({ length: 30 }, (_, index) => ({
  ...{ step: index + 1, phase: index < 10 ? ('warmup' as const) : ('adversarial' as const), epoch: 0 },
  ...{ rewardMean: 0.1 * index, teacherRewardMean: 1, groupRewardSpread: 0.2 },
  ...{ discriminatorLossNats: 0.6, discriminatorAccuracy: 0.7, discriminatorGradientNorm: 1 },
  ...{ studentLossNats: 1, studentGradientNorm: 1, klNats: index < 10 ? null : 0.01, clippedFraction: 0 },
  ...{ samplingDifferenceNats: 0, entropyNats: 0.5, responseLength: 30, teacherLength: 30, finishedFraction: 1 },
  rougeL: 0.6,
  ...{ numTokens: 900, validation: index % 10 === 9 ? { correct: index, total: 50 } : null },
  ...{ rolloutMs: 100, scoreMs: 10, studentMs: 30, discriminatorMs: 40 },
}));

const distill = (gadCorrect: number): Distill => {
  const row = (method: 'seqkd' | 'gad', variant: string, correct: number) => ({
    ...{
      method,
      variant,
      seed: 1,
      inDistribution: { correct, total: 300 },
      outOfDistribution: { correct, total: 300 },
    },
    ...{ meanLength: 31, tokens: 24_000, numTraces: 800, wallMs: 5000, validation: null },
    alarms: method === 'gad' ? [{ kind: 'lengthDrift' as const, step: 12, message: 'Step 12: too <long>.' }] : [],
  });
  return {
    ...{ schemaVersion: 1, commit: 'abcdef0123456789', name: 'a <run>' },
    teacher: { inDistribution: { correct: 299, total: 300 }, outOfDistribution: { correct: 298, total: 300 } },
    undistilled: [{ seed: 1, inDistribution: { correct: 30, total: 300 }, outOfDistribution: null }],
    rows: [row('seqkd', 'SeqKD', 150), row('gad', 'GAD', gadCorrect)],
    curves: [{ variant: 'GAD', seed: 1, steps }],
    toy: { teacher: new Array(10).fill(0.1), seqkd: new Array(10).fill(0.1), gad: [0, 0, 0, 1, 0, 0, 0, 0, 0, 0] },
  };
};

describe('report of a distillation run', () => {
  test('claims a difference only where the intervals are apart', () => {
    assert.match(distillPage(distill(260)).page.headline, /^GAD 86\.7.*SeqKD 50.* in distribution$/);
    assert.match(distillPage(distill(155)).page.headline, /no difference beyond chance/);
    assert.equal(distillPage({ ...distill(1), rows: [] }).page.headline, 'No student is done yet');
  });

  test('holds a figure for each number of the steps, the toy, the alarms; what comes from outside stays text', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'azeotrope-report-'));
    try {
      const path = await writeDistillReport(folder, distill(200));
      const page = await readFile(path, 'utf8');
      assert.ok(page.includes('a &lt;run&gt;') && page.includes('too &lt;long&gt;') && !page.includes('<long>'));
      const expected = ['accuracy', 'discriminator', 'entropy', 'kl', 'length', 'reward', 'toy', 'validation'];
      assert.deepEqual(
        (await readdir(join(folder, 'figures'))).sort(),
        expected.map((name) => `${name}.svg`),
      );
      assert.ok(!/https?:\/\/(?!www\.w3\.org)/.test(page.replace(/<pre>[\s\S]*?<\/pre>/g, '')), 'nothing is loaded');
      await writeDistillReport(folder, distill(200));
      assert.equal(await readFile(path, 'utf8'), page, 'the same bytes');
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
