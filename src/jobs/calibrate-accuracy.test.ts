import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { createScorer } from '../inference/score.js';
import { createRandom } from '../support/random.js';
import type { TaskItem } from '../tasks/datasets/items.js';
import { calibrateAccuracy } from './calibrate-accuracy.js';
import { makeProxy } from './make-proxy.js';
import { openModel } from './open-model.js';
import { openProxy } from './open-proxy.js';

const location = join(import.meta.dirname, '../../test/parity/golden/families/qwen2.5-padded');
const folder = mkdtempSync(join(tmpdir(), 'azeotrope-'));
const teacher = await openModel(location, { threads: 1 });
after(() => {
  teacher.dispose();
  rmSync(folder, { recursive: true });
});
const { tokenizer } = teacher;
const random = createRandom('questions');
const words = Array.from({ length: 96 }, (_, id) => tokenizer!.tokenOf(id)!).filter((word) => /^w\d+$/.test(word));

/** Questions of three words; right is the word that the teacher finds likeliest. */
async function makeItems(count: number): Promise<TaskItem[]> {
  const questions = Array.from({ length: count }, () =>
    Array.from({ length: 3 }, () => words[random.integer(words.length)]).join(' '),
  );
  const rows = questions.map((question, index) => ({ id: String(index), tokens: [...tokenizer!.encode(question), 0] }));
  const scored = await createScorer(teacher.model).score(rows, { topK: 20 });
  return scored.flatMap(({ id, top }) => {
    const likeliest = top!
      .at(-1)!
      .map(([token]) => tokenizer!.tokenOf(token))
      .find((word) => words.includes(word!));
    return likeliest === undefined ? [] : [{ id, question: questions[Number(id)], answer: likeliest }];
  });
}
const items = await makeItems(700);

const holdout = join(folder, 'holdout.jsonl');
const holdoutRows = Array.from({ length: 8 }, (_, id) => ({
  id,
  tokens: Array.from({ length: 20 }, () => 3 + random.integer(90)),
  responseStart: 4,
}));
writeFileSync(holdout, holdoutRows.map((row) => `${JSON.stringify(row)}\n`).join(''));
const proxyFolder = join(folder, 'proxy');
await makeProxy(teacher, { holdout, output: proxyFolder, microBatchTokens: 512 });
const proxy = await openProxy(proxyFolder, teacher);

const options = {
  items,
  data: 'questions',
  template: { question: '{question}' },
  forceAnswers: false,
  folder: proxyFolder,
  estimator: 'jvp' as const,
  sampler: { temperature: 0.15 },
  samples: 1,
  maxTokens: 1,
  seed: 1,
  timeLimitMs: 1000,
  chat: 'never' as const,
};

describe('a strength from points of accuracy', () => {
  test('holds on questions that the search did not see, within a point and sampling error, and is noted with the proxy', async () => {
    for (const maxAccuracyLoss of [5, 20]) {
      const { lambda, isReached, searched, heldOut } = await calibrateAccuracy(teacher, proxy, {
        ...options,
        maxAccuracyLoss,
      });
      assert.ok(isReached);
      assert.ok(Math.abs(searched.lossPoints - maxAccuracyLoss) <= 1, `${searched.lossPoints}`);
      assert.ok(heldOut.errorPoints > 0 && heldOut.errorPoints < 3);
      assert.ok(
        Math.abs(heldOut.lossPoints - maxAccuracyLoss) <= 1 + 3 * heldOut.errorPoints,
        `${heldOut.lossPoints} ± ${heldOut.errorPoints} of ${maxAccuracyLoss}`,
      );
      const { calibration } = JSON.parse(readFileSync(join(proxyFolder, 'proxy.json'), 'utf8'));
      assert.deepEqual([calibration.at(-1).lambda, calibration.at(-1).maxAccuracyLoss], [lambda, maxAccuracyLoss]);
    }
  });

  test('is the bound of the support, and says so, where no strength loses as much', async () => {
    const sampler = { temperature: 0.15, minP: 0.9 };
    const { isReached, searched } = await calibrateAccuracy(teacher, proxy, {
      ...options,
      sampler,
      maxAccuracyLoss: 60,
    });
    assert.equal(isReached, false);
    assert.ok(searched.lossPoints < 60);
  });

  test('of too few questions, of answers that cannot be read and of a teacher that has less to lose, there is none', async () => {
    const calibrate = (change: Partial<Parameters<typeof calibrateAccuracy>[2]>) =>
      calibrateAccuracy(teacher, proxy, { ...options, maxAccuracyLoss: 5, ...change });
    await assert.rejects(calibrate({ items: items.slice(0, 6) }), /DataError: .*6 questions are too few/);
    const wrong = items.slice(0, 60).map((item) => ({ ...item, answer: '12345' }));
    await assert.rejects(calibrate({ items: wrong }), /DataError: .*0.0 % right answers .* cannot lose 5 points/);
    const doubled = [...items.slice(0, 60), items[0]];
    await assert.rejects(calibrate({ items: doubled }), /DataError: .*share an id/);
  });
});
