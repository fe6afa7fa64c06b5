/** Whole runs over files with tiny models. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { openModel } from '../../jobs/open-model.js';
import { responseLoss } from '../../jobs/score-rows.js';
import { AzeotropeError } from '../../support/errors.js';
import { encodeRow } from '../../tokenizer/rows.js';
import { runSchema } from '../config.js';
import { runTradeoff } from '../run-tradeoff.js';
import { datasetTaskSchema } from './config.js';
import { openDatasetTask } from './task.js';

const golden = join(import.meta.dirname, '../../../test/parity/golden/families/qwen2.5-padded');
const folder = mkdtempSync(join(tmpdir(), 'azeotrope-'));
after(() => rmSync(folder, { recursive: true }));

const path = join(folder, 'rows.jsonl');
const rows = Array.from({ length: 200 }, (_, id) => ({
  question: `w${4 + (id % 40)} w${5 + (id % 50)} w${6 + Math.floor(id / 3)}`,
  answer: `w${10 + (id % 7)}`,
}));
writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));

/** A copy of the model whose words are others. */
function renamed(name: string, rename: (tokenizer: string) => string): string {
  const target = join(folder, name);
  cpSync(golden, target, { recursive: true });
  const file = join(target, 'tokenizer.json');
  writeFileSync(file, rename(readFileSync(file, 'utf8')));
  return target;
}

const models = {
  teacher: golden,
  proxy: { derive: { from: 'teacher', layers: 1 } },
  student: { derive: { from: golden, train: { on: 'solutions', rows: 16, learningRate: 1e-3 } } },
};

function configOf(task: object) {
  return runSchema.parse({
    schemaVersion: 1,
    name: 'words',
    task: {
      kind: 'dataset',
      name: 'words',
      sources: [
        {
          path,
          splits: { models: 0.2, holdout: 0.2, distil: 0.2, validation: 0.2, test: 0.2 },
          solution: { field: 'answer' },
        },
      ],
      prompt: { template: { question: '{question}' } },
      chat: 'never',
      maxTokens: 6,
      models,
      ...task,
    },
    replicates: [{ teacher: 0, seed: 1 }],
    arms: [
      { arm: 'temperature', temperature: 0.6 },
      { arm: 'antidistillation', temperature: 0.6, support: 0, strength: { budgetNats: 0.05 } },
    ],
    holdout: { count: 8, temperature: 0.6 },
    calibration: { count: 8, tolerance: 0.2 },
    traces: { count: 12 },
    evaluation: { count: 10 },
    portraits: { count: 4 },
    training: { batchSize: 4, lora: { rank: 2, alpha: 4 } },
    shownTraces: 1,
    workers: 1,
    threads: 1,
  });
}

const run = (name: string, task: object = {}, log: (message: string) => void = () => {}) =>
  runTradeoff({
    config: configOf(task),
    isQuick: false,
    output: join(folder, name),
    command: 'test',
    signal: new AbortController().signal,
    log,
  });

describe('a run over files', () => {
  test('derives its models, distils students with adapters and fills the table', async () => {
    const { tradeoff } = await run('whole');
    assert.deepEqual(
      tradeoff.points.map(({ arm, teacher, student }) => [arm, teacher.total, student.total]),
      [
        ['temperature', 10, 10],
        ['antidistillation', 10, 10],
      ],
    );
    const [plain, tilted] = tradeoff.points;
    assert.equal(plain.meanKlNats, null);
    assert.ok(tilted.meanKlNats! > 0.01 && tilted.meanKlNats! < 0.2, `${tilted.meanKlNats}`);
    assert.equal(tradeoff.undistilled[0].total, 10);
    assert.equal(tradeoff.baselines, undefined, 'no rule about numbers where answers are words');
  });

  test('measures the loss of students on worked solutions, where there are rules beside that', async () => {
    const numbers = join(folder, 'numbers.jsonl');
    const counted = rows.map(({ question }, id) => ({
      question: `${question} ${id}`,
      answer: id,
      solution: `w${4 + (id % 9)}`,
    }));
    writeFileSync(numbers, counted.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const splits = { models: 0.2, holdout: 0.2, distil: 0.2, validation: 0.2, test: 0.2 };
    const sources = [{ path: numbers, splits, solution: { field: 'solution' } }];
    const { tradeoff } = await run('solved', { sources, models: { ...models, student: golden } });
    const rules = Object.fromEntries(
      (tradeoff.baselines ?? []).map(({ name, correct, total }) => [name, correct / total]),
    );
    assert.equal(rules['first divided by second'], 0);
    assert.equal(tradeoff.baselines?.[0].total, 10);
    assert.ok(tradeoff.points.every(({ student }) => student.lossNats! > 0));

    // The student before training is the model itself: its loss on the same rows, without a run.
    const task = await openDatasetTask(datasetTaskSchema.parse(configOf({ sources, models }).task));
    const opened = await openModel(golden, { threads: 1 });
    try {
      const solutions = await task.solutions!.read('test', 10);
      const encoded = solutions.map(({ question, text }, id) =>
        encodeRow(
          { id, ...question.row, response: text },
          { tokenizer: opened.tokenizer!, vocabSize: 128, where: '', chat: 'never' },
        ),
      );
      const { lossNats } = await responseLoss(opened.model, encoded);
      assert.ok(Math.abs(tradeoff.undistilled[0].lossNats! - lossNats) < 0.01, `${lossNats}`);
    } finally {
      opened.dispose();
      task.dispose();
    }
  });

  test('takes a proxy of other special tokens where it is told to, and says how many have no Δ', async () => {
    const proxy = renamed('other-end', (tokenizer) => tokenizer.replaceAll('"</s>"', '"<end>"'));
    const config = join(proxy, 'tokenizer_config.json');
    writeFileSync(config, readFileSync(config, 'utf8').replaceAll('"</s>"', '"<end>"'));
    await assert.rejects(run('refused', { models: { ...models, proxy } }), /id 2 .*task\.models\.proxyTokenizer/);
    const told: string[] = [];
    const task = { models: { ...models, proxy, proxyTokenizer: 'except-special' } };
    const { tradeoff } = await run('accepted', task, (message) => void told.push(message));
    assert.equal(told.filter((message) => /differ at 1 id \(2\): Δ is 0 there/.test(message)).length, 1);
    assert.ok(tradeoff.points[1].meanKlNats! > 0.01);
  });

  test('ends with one clear message where models, answers or files are at fault', async () => {
    const letters = (tokenizer: string) =>
      tokenizer.replace(
        /"w(\d+)"/g,
        (_, digits: string) => `"v${[...digits].map((digit) => 'abcdefghij'[Number(digit)]).join('')}"`,
      );
    const wordless = renamed('wordless', letters);
    const cases: [string, object, RegExp][] = [
      [
        'tokenizers',
        { models: { ...models, proxy: renamed('other', (tokenizer) => tokenizer.replaceAll('"w42"', '"forty-two"')) } },
        /the same tokenizer: id 42 is "w42".*"forty-two"/,
      ],
      [
        'answers',
        {
          forceAnswers: false,
          models: { teacher: wordless, proxy: wordless, student: wordless },
        },
        /answer/,
      ],
      ['files', { sources: [{ path: join(folder, 'gone.jsonl'), splits: { test: 1 } }] }, /Cannot read .*gone\.jsonl/],
      [
        'questions',
        { sources: [{ path, splits: { holdout: 0.5, validation: 0.5 } }] },
        /questions are wanted for '(distil|test)', but there are 0/,
      ],
    ];
    for (const [name, task, told] of cases) {
      await assert.rejects(run(name, task), (error) => {
        assert.ok(error instanceof AzeotropeError, String(error));
        assert.match(error.message, told);
        return true;
      });
    }
  });
});
