import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { openModel } from '../../jobs/open-model.js';
import { responseLoss } from '../../jobs/score-rows.js';
import { ConfigError } from '../../support/errors.js';
import { describeFirstDifference } from '../../tokenizer/fingerprint.js';
import { encodeRow } from '../../tokenizer/rows.js';
import type { BuildContext, ModelRequest, Response } from '../task.js';
import { datasetTaskSchema } from './config.js';
import { openDatasetTask } from './task.js';

const golden = join(import.meta.dirname, '../../../test/parity/golden/families/qwen2.5-padded');
const folder = mkdtempSync(join(tmpdir(), 'azeotrope-'));
const original = await openModel(golden, { threads: 1 });
after(() => {
  original.dispose();
  rmSync(folder, { recursive: true });
});

const path = join(folder, 'rows.jsonl');
const rows = Array.from({ length: 120 }, (_, id) => ({
  question: `w${4 + (id % 40)} w${5 + (id % 50)} w${6 + (id % 60)} w${7 + Math.floor(id / 60)}`,
  answer: `w${10 + (id % 7)}`,
}));
writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
const training = { learningRate: 1e-2, batchSize: 8, epochs: 4, rows: 24 };

const base = {
  kind: 'dataset',
  name: 'words',
  sources: [{ path, splits: { models: 0.4, test: 0.6 }, solution: { field: 'answer' } }],
  prompt: { template: { question: '{question}' } },
  chat: 'never',
  models: { teacher: golden, proxy: golden, student: golden } as Record<string, unknown>,
};
const open = (change: object = {}, models: object = {}) =>
  openDatasetTask(datasetTaskSchema.parse({ ...base, ...change, models: { ...base.models, ...models } }));
const request = (role: ModelRequest['role'], seed = 1): ModelRequest => ({
  role,
  seed,
  kind: 'default',
  teacherSeed: 1,
});

describe('judgements', () => {
  test('are of the box, else of what was forced, else of what the fallback rules find', async () => {
    const task = await open();
    const question = { id: 'q', row: { prompt: 'q' }, text: 'q', answer: '12' };
    const respond = (text: string, forcedText?: string): Response => ({ question, text, finish: 'stop', forcedText });
    const responses = [
      respond('so \\boxed{12}'),
      respond('so \\boxed{13}', '12}'),
      respond('so it is 12'),
      respond('so it is 12', '13} and more'),
      respond('I do not know', '12\n and so on'),
      respond('I do not know'),
    ];
    const judged = await task.judge(responses);
    assert.deepEqual(
      judged.map(({ isCorrect }) => isCorrect),
      [true, false, true, false, true, false],
    );
    assert.deepEqual(
      judged.map(({ isParsed }) => isParsed),
      [true, true, true, true, true, false],
    );
    assert.deepEqual(
      responses.map((response) => task.forcing!.isNeeded(response)),
      [false, false, true, true, true, true],
    );
    task.dispose();
  });

  test('choose what a student that checks answers learns from', async () => {
    const task = await open();
    const [question] = await task.questions('test', 1);
    const traces: Response[] = ['\\boxed{w1}', `\\boxed{${question.answer}}`].map((text) => ({
      question,
      text,
      finish: 'stop',
    }));
    const exampleOf = (_: unknown, text: string) => ({ id: text, tokens: [], responseStart: 0 });
    const examples = await task.attacks.verified.examples({ traces, exampleOf } as never);
    assert.deepEqual(
      examples.map(({ id }) => id),
      [traces[1].text],
    );
    task.dispose();
  });
});

describe('the identity of a task', () => {
  test('is that of its files and settings, wherever the files lie', async () => {
    const copy = join(folder, 'copy.jsonl');
    cpSync(path, copy);
    const [first, moved, other, changed] = await Promise.all([
      open(),
      open({ sources: [{ ...base.sources[0], path: copy }] }),
      open({ salt: 'other' }),
      (async () => {
        const touched = join(folder, 'touched.jsonl');
        writeFileSync(touched, readFileSync(path, 'utf8').replace('w10', 'w11'));
        return open({ sources: [{ ...base.sources[0], path: touched }] });
      })(),
    ]);
    assert.deepEqual(moved.identity, first.identity);
    assert.notDeepEqual(other.identity, first.identity);
    assert.notDeepEqual(changed.identity, first.identity);
    await assert.rejects(
      open({ sources: [{ path: join(folder, 'gone.jsonl'), splits: { test: 1 } }] }),
      /Cannot read .*gone/,
    );
  });
});

describe('models', () => {
  test('that are there have the identity of their weights', async () => {
    const copy = join(folder, 'model-copy');
    cpSync(golden, copy, { recursive: true });
    const touched = join(folder, 'model-touched');
    cpSync(golden, touched, { recursive: true });
    const weights = readFileSync(join(touched, 'model.safetensors'));
    weights[weights.length - 5] ^= 1;
    writeFileSync(join(touched, 'model.safetensors'), weights);
    const task = await open({}, { proxy: copy, student: touched });
    const [teacher, proxy, student] = await Promise.all(
      (['teacher', 'proxy', 'student'] as const).map((role) => task.modelSource(request(role))),
    );
    const identity = (source: typeof teacher) => (source.kind === 'ready' ? source.identity : undefined);
    assert.ok(identity(teacher));
    assert.equal(identity(proxy), identity(teacher));
    assert.notEqual(identity(student), identity(teacher));
  });

  test('cut to their first layers have those layers, and the tokenizer', async () => {
    const task = await open({}, { proxy: { derive: { from: 'teacher', layers: 1 } } });
    const source = await task.modelSource(request('proxy'));
    assert.ok(source.kind === 'build');
    assert.deepEqual([source.from, source.usesHoldout, source.config?.numLayers], [[request('teacher')], false, 1]);
    const made = await build(task, request('proxy'), 'cut');
    assert.equal(made.model.config.numLayers, 1);
    assert.equal(describeFirstDifference(original.tokenizer!, made.tokenizer!, ['a', 'b']), undefined);
    for (const [name, { data }] of made.model.parameters) {
      assert.deepEqual(data, original.model.parameters.get(name)!.data, name);
    }
    made.dispose();
    task.dispose();
  });

  test('trained on solutions, with adapters or without, have learnt them; the seed decides', async () => {
    const lora = { rank: 4, alpha: 8 };
    const task = await open(
      {},
      {
        proxy: { derive: { from: golden, layers: 1, train: { on: 'solutions', ...training } } },
        student: { derive: { from: 'proxy', train: { on: 'holdout', ...training, lora } } },
      },
    );
    const cut = await build(
      await open({}, { proxy: { derive: { from: golden, layers: 1 } } }),
      request('proxy'),
      'before',
    );
    const trained = await build(task, request('proxy'), 'trained');
    const again = await build(task, request('proxy', 2), 'again');
    const { tokenizer } = original;
    const learnt = rows.map(({ question, answer }, id) =>
      encodeRow({ id, prompt: question, response: answer }, { tokenizer, vocabSize: 128, where: '', chat: 'never' }),
    );
    const lossOf = async ({ model }: typeof cut) => (await responseLoss(model, learnt)).lossNats;
    assert.ok((await lossOf(trained)) < (await lossOf(cut)) - 0.5);
    assert.notEqual(await lossOf(again), await lossOf(trained));
    const questions = await task.questions('test', 30);
    const holdout = questions.map((question): Response => ({ question, text: 'w99', finish: 'stop' }));
    const source = await task.modelSource(request('student'));
    assert.ok(source.kind === 'build' && source.usesHoldout);
    const student = await build(task, request('student'), 'student', { from: [join(folder, 'trained')], holdout });
    assert.equal(student.model.lora, undefined);
    const told = encodeRow(
      { id: 1, prompt: rows[0].question, response: 'w99' },
      { tokenizer, vocabSize: 128, where: '', chat: 'never' },
    );
    assert.ok(
      (await responseLoss(student.model, [told])).lossNats < (await responseLoss(trained.model, [told])).lossNats - 0.5,
    );
    for (const each of [cut, trained, again, student]) each.dispose();
    task.dispose();
  });

  test('that cannot be are refused', async () => {
    const circle = await open({}, { proxy: { derive: { from: 'student' } }, student: { derive: { from: 'proxy' } } });
    await assert.rejects(circle.modelSource(request('proxy')), /ConfigError: .*the proxy is derived from itself/);
    const deep = await open({}, { proxy: { derive: { from: 'teacher', layers: 99 } } });
    await assert.rejects(
      deep.modelSource(request('proxy')),
      /ConfigError: .*99 layers of teacher are wanted; it has 2/,
    );
    const kind = { ...request('proxy'), kind: 'plain' };
    await assert.rejects(deep.modelSource(kind), /ConfigError: task\.models has no proxy of the kind 'plain'/);
    const noSolution = await open(
      { sources: [{ path, splits: { models: 1 } }] },
      { proxy: { derive: { from: golden, train: { on: 'solutions', ...training } } } },
    );
    await assert.rejects(
      build(noSolution, request('proxy'), 'none'),
      (error) => error instanceof ConfigError && /has no solution/.test(error.message),
    );
  });

  test('that lie elsewhere are planned from their description', async () => {
    const config = JSON.parse(readFileSync(join(golden, 'config.json'), 'utf8'));
    const task = await openDatasetTask(
      datasetTaskSchema.parse({
        ...base,
        sources: [{ path: join(folder, 'not-here.jsonl'), splits: { test: 1 } }],
        models: { ...base.models, teacher: { model: 'someone/something', config } },
      }),
      { isPlan: true },
    );
    const source = await task.modelSource(request('teacher'));
    assert.deepEqual(source.config?.hiddenSize, original.model.config.hiddenSize);
  });
});

async function build(
  task: Awaited<ReturnType<typeof open>>,
  wanted: ModelRequest,
  name: string,
  change: Partial<BuildContext> = {},
) {
  const target = join(folder, name);
  const scratch = join(folder, `${name}.scratch`);
  for (const each of [target, scratch]) mkdirSync(each, { recursive: true });
  await task.buildModel(wanted, {
    compiler: original.model.compiler,
    folder: target,
    scratch,
    from: [golden],
    holdout: [],
    ...change,
  });
  return openModel(target, { compiler: original.model.compiler });
}
