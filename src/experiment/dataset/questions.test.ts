import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { ConfigError, DataError } from '../../support/errors.js';
import { sharedPath } from '../../support/shared-data.fixture.js';
import { plainText } from '../../tasks/datasets/splits.js';
import { datasetTaskSchema } from './config.js';
import { createPrompter, firstOf, loadSplits, type SplitName } from './questions.js';

const folder = mkdtempSync(join(tmpdir(), 'azeotrope-'));
after(() => rmSync(folder, { recursive: true }));

function write(name: string, rows: readonly object[]): string {
  const path = join(folder, name);
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return path;
}

const models = { teacher: 'm', proxy: 'm', student: 'm' };
const configOf = (settings: object) => datasetTaskSchema.parse({ kind: 'dataset', name: 'test', models, ...settings });

const rowsOf = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => ({
    question: `What is ${from + index} + 1?`,
    answer: from + index + 1,
  }));
const train = write('train.jsonl', [...rowsOf(0, 2000), { question: ' what IS  3 +\n1?', answer: 4 }]);
const tests = write('test.jsonl', rowsOf(1900, 2400));
const sources = [
  { path: train, splits: { distil: 0.7, holdout: 0.3 } },
  { path: tests, splits: { validation: 0.4, test: 0.6 } },
];
const idsOf = (splits: Record<SplitName, { id: string }[]>, name: SplitName) => splits[name].map(({ id }) => id);

describe('the questions of a run', () => {
  test('serve one purpose each, though files repeat them in other spelling', async () => {
    const splits = await loadSplits(configOf({ sources }));
    const purposes: SplitName[] = ['distil', 'holdout', 'validation', 'test'];
    const texts = purposes.flatMap((name) => splits[name].map(({ question }) => plainText(question)));
    assert.equal(new Set(texts).size, texts.length);
    assert.equal(texts.length, 2400, 'none is lost');
    // Of 1900 questions that the test file has not: seven tenths, within four standard deviations.
    assert.ok(Math.abs(splits.distil.length - 1330) < 80, `${splits.distil.length}`);
    assert.equal(splits.test.length + splits.validation.length, 500, 'what is measured comes before what is learnt');
  });

  test('stay in their order where others come or go, which is not the order of the file', async () => {
    const splits = await loadSplits(configOf({ sources }));
    const fewer = write('fewer.jsonl', rowsOf(0, 1000));
    const part = await loadSplits(configOf({ sources: [{ ...sources[0], path: fewer }] }));
    const kept = new Set(idsOf(part, 'holdout'));
    assert.deepEqual(
      idsOf(splits, 'holdout').filter((id) => kept.has(id)),
      idsOf(part, 'holdout'),
    );
    const numbers = idsOf(part, 'holdout').map((id) => Number(id.split('/')[1]));
    const mean = numbers.slice(0, 100).reduce((sum, value) => sum + value, 0) / 100;
    assert.ok(Math.abs(mean - 500) < 4 * 29, `a hundred of a thousand evenly: ${mean}`);
  });

  test('for calibration are those of validation where nothing else is said', async () => {
    const splits = await loadSplits(configOf({ sources }));
    assert.deepEqual(splits.calibration, splits.validation);
  });

  test('that are not there are asked for in vain, and the message says where to look', async () => {
    const config = configOf({ sources });
    const splits = await loadSplits(config);
    assert.equal(firstOf(splits, 'test', { count: 10, sources: config.sources }).length, 10);
    const fails = (name: SplitName, told: RegExp) =>
      assert.throws(
        () => firstOf(splits, name, { count: 1000, sources: config.sources }),
        (error) => error instanceof DataError && told.test(error.message),
      );
    fails('test', /1000 questions are wanted for 'test', but there are \d+ \(0\.6 of .*test\.jsonl\)/);
    fails('sealed', /there are 0 \(no source has a share for it\)/);
    await assert.rejects(
      loadSplits(configOf({ sources: [{ path: join(folder, 'gone'), splits: { test: 1 } }] })),
      /Cannot read .*gone/,
    );
    const over = [{ path: train, splits: { distil: 0.7, test: 0.7 } }];
    await assert.rejects(loadSplits(configOf({ sources: over })), ConfigError);
    const twice = write('twice.jsonl', [
      { id: 'a', question: '1', answer: 1 },
      { id: 'a', question: '2', answer: 2 },
    ]);
    await assert.rejects(
      loadSplits(configOf({ sources: [{ path: twice, splits: { test: 1 } }] })),
      /two questions have the id 'a'/,
    );
  });

  test('have solutions as the configuration rewrites them', async () => {
    const path = write('solved.jsonl', [{ question: 'q', answer: 'So 6/2=<<6/2=3>>3.\n#### 3' }]);
    const replace = [
      { pattern: '<<.*?>>', with: '' },
      { pattern: '#### (.+)', with: '\\boxed{$1}' },
    ];
    const config = configOf({
      sources: [{ known: 'gsm8k', path, splits: { models: 1 }, solution: { field: 'answer', replace } }],
    });
    const [item] = (await loadSplits(config)).models;
    assert.deepEqual([item.solution, item.answer], ['So 6/2=3.\n\\boxed{3}', '3']);
  });

  test('have solutions in steps where equations give their answer, and are left out where they do not', async () => {
    const path = write('equations.jsonl', [
      { question: 'a', answer: 1, equation: '- 8 - 10 3' },
      { question: 'b', answer: 2, equation: '- 8 - 10 3' },
      { question: 'c', answer: '5.0', equation: '( 2.5 * 2.0 )' },
    ]);
    const settingsOf = (field: string) =>
      configOf({ sources: [{ path, splits: { models: 1 }, solution: { field, kind: 'equation' } }] });
    const { models } = await loadSplits(settingsOf('equation'));
    const solutions = Object.fromEntries(models.map(({ question, solution }) => [question, solution]));
    assert.deepEqual(Object.keys(solutions).sort(), ['a', 'c']);
    assert.match(solutions.a!, /10 - 3 = 7\. .*8 - 7 = 1\. .*\\boxed\{1\}/);
    await assert.rejects(loadSplits(settingsOf('question')), /equations\.jsonl, question '0': "a" is no equation/);
  });
});

describe('splits by template', () => {
  const names = ['Ann', 'Bob', 'Cleo', 'Dan', 'Eve'];
  const things = Array.from(
    { length: 120 },
    (_, index) => `thing${'abcdefghij'[index % 10]}${'klmnopqrstuv'[Math.floor(index / 10)]}`,
  );
  const rowsAbout = (part: readonly string[]) =>
    part.flatMap((thing, index) =>
      names.map((name, at) => ({ question: `${name} has ${index + at} ${thing} and eats ${at}.`, answer: index })),
    );
  const splits = { models: 0.3, distil: 0.3, test: 0.4 };
  const thingOf = ({ question }: { question: string }) => /thing\w+/.exec(question)![0];
  /** In how many purposes each thing stands. */
  const purposesOf = (parts: Record<SplitName, { question: string }[]>) => {
    const found = new Map<string, Set<string>>();
    for (const [name, items] of Object.entries(parts).filter(([, { length }]) => length > 0))
      for (const item of items) found.set(thingOf(item), (found.get(thingOf(item)) ?? new Set()).add(name));
    return [...found.values()].map(({ size }) => size);
  };

  test('keep together what differs in names and numbers alone, which splits by text tear apart', async () => {
    const path = write('repeated.jsonl', rowsAbout(things));
    const config = { sources: [{ path, splits }], salt: 'x' };
    const together = await loadSplits(configOf({ ...config, splitBy: 'template' }));
    assert.ok(purposesOf(together).every((count) => count === 1));
    const sizes = [together.models, together.distil, together.test].map(({ length }) => length);
    assert.equal(sizes[0] + sizes[1] + sizes[2], 600);
    // 120 templates of five questions: within four standard deviations of their share.
    assert.ok(Math.abs(sizes[2] - 240) < 4 * 5 * Math.sqrt(120 * 0.4 * 0.6), `${sizes}`);
    assert.ok(purposesOf(await loadSplits(configOf(config))).some((count) => count > 1));
  });

  test('hold across files of other shares: what is measured comes first', async () => {
    const sources = [
      { path: write('learn.jsonl', rowsAbout(things)), splits: { models: 0.5, distil: 0.5 } },
      {
        path: write(
          'measure.jsonl',
          rowsAbout(things.slice(0, 40)).map((row) => ({ ...row, question: `${row.question} 7` })),
        ),
        splits: { test: 1 },
      },
    ];
    const parts = await loadSplits(configOf({ sources, splitBy: 'template' }));
    assert.ok(parts.test.length === 200 && purposesOf(parts).length === 120);
    assert.ok(purposesOf(parts).every((count) => count === 1));
  });
});

describe('prompts', () => {
  const item = { id: '0/0', question: 'Which?', answer: 'B', choices: ['x', 'y'], group: 'logic' };

  test('show solved examples, of the group of the question where that is asked for, after the system message', async () => {
    const path = write('dev.jsonl', [
      { subject: 'law', question: 'L?', choices: ['1', '2'], answer: 'A' },
      { subject: 'logic', question: 'G?', choices: ['3', '4'], answer: 'B' },
    ]);
    const shots = { known: 'mmlu', path, count: 1 };
    const source = { known: 'mmlu', path, splits: { test: 1 } };
    const promptOf = (prompt: object) =>
      createPrompter(configOf({ sources: [source], prompt: { template: 'mmlu', ...prompt } }));
    const first = (await promptOf({ shots }))(item);
    assert.match(
      (first as { prompt: string }).prompt,
      /^The following .*\n\nL\?\nA\. 1\nB\. 2\nAnswer: A\n\nWhich\?\nA\. x\nB\. y\nAnswer:$/,
    );
    const grouped = (await promptOf({ shots: { ...shots, isOfGroup: true }, system: 'Be short.' }))(item);
    assert.deepEqual(
      grouped.messages!.map(({ role }) => role),
      ['system', 'user'],
    );
    assert.match(grouped.messages![1].content, /G\?/);
    const more = await promptOf({ shots: { ...shots, count: 2, isOfGroup: true } });
    assert.throws(() => more(item), /2 examples are wanted, .*dev\.jsonl has 1 of the group "logic"/);
  });
});

const data = sharedPath('data');

test('the public data sets divide into disjoint purposes of the wanted size', {
  skip: data === undefined && 'needs shared/data',
}, async () => {
  const gsm8k = await loadSplits(
    configOf({
      sources: [
        { known: 'gsm8k', path: join(data!, 'gsm8k/train.jsonl'), splits: { distil: 0.7, holdout: 0.3 } },
        { known: 'gsm8k', path: join(data!, 'gsm8k/test.jsonl'), splits: { validation: 0.3, test: 0.7 } },
      ],
    }),
  );
  const total = [gsm8k.distil, gsm8k.holdout, gsm8k.validation, gsm8k.test].reduce(
    (sum, { length }) => sum + length,
    0,
  );
  assert.ok(total > 8700 && total <= 7473 + 1319, `${total}`);
  assert.ok(Math.abs(gsm8k.holdout.length / 7473 - 0.3) < 0.02);
});
