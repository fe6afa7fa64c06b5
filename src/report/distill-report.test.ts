import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { inventDistill, inventSteps } from './distill-records.fixture.js';
import { isDistillRun, readDistillRecords } from './distill-records.js';
import { DISTILL_PAGES, distillPage, writeDistillReport } from './distill-report.js';
import { ablationTable, resultTable } from './distill-tables.js';
import { serveRun } from './serve-run.js';

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'azeotrope-report-'));
});
after(() => rm(root, { recursive: true }));

type Records = ReturnType<typeof inventDistill>;

async function writeRecords(folder: string, { distill, details }: Records): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'details.json'), JSON.stringify(details));
  await writeFile(join(folder, 'distill.json'), JSON.stringify(distill));
}

/** A run whose first adversarial student is in training. */
function unfinished(numSteps: number): Records {
  const { distill, details } = inventDistill(200);
  const [text, { validation: _validation, ...student }] = details.students;
  const now = 'GAD, seed 1';
  return {
    distill: { ...distill, rows: distill.rows.slice(0, 1) },
    details: {
      ...details,
      progress: { done: 1, total: 4, now },
      students: [text, { ...student, validation: null, isDone: false, steps: inventSteps(numSteps) }],
    },
  };
}

describe('report of a distillation run', () => {
  test('tells of the method itself on the seeds that both have, not of the best of its variants', () => {
    const { distill, details } = inventDistill(200);
    const [text, gad, again, frozen] = distill.rows;
    const best = { ...frozen, inDistribution: { correct: 299, total: 300 } };
    const otherSeed = { ...again, inDistribution: { correct: 0, total: 300 } };
    const { headline } = distillPage({ distill: { ...distill, rows: [text, gad, otherSeed, best] }, details }).page;
    assert.match(headline, /^In distribution GAD 66\.7.*SeqKD 50/);
  });

  test('claims a difference only where the intervals are apart, in and out of distribution', () => {
    const { headline, verdict } = distillPage(inventDistill(260)).page;
    assert.match(headline, /^In distribution GAD 86\.7.*SeqKD 50[^:]*$/);
    assert.match(verdict, /^Out of distribution GAD 80.*SeqKD 43\.3/);
    assert.match(distillPage(inventDistill(155)).page.headline, /no difference beyond chance/);
    const { distill, details } = inventDistill(1 + 60 + 20);
    const empty = { distill: { ...distill, rows: [] }, details: { ...details, students: [] } };
    assert.equal(distillPage(empty).page.headline, 'No student is done yet');
  });

  test('pools the seeds of a variant, with intervals for every set of questions', () => {
    const { columns, rows } = resultTable(inventDistill(200));
    assert.deepEqual(
      columns.slice(2, 5).map(({ name }) => name),
      ['in distribution', 'out of distribution', 'five people'],
    );
    const gad = rows.find(([name]) => name === 'GAD')!;
    assert.equal(gad[1], '2');
    // 400 of 600, Wilson.
    assert.match(String(gad[2]), /^66\.7.%.\(62\.8–70\.3\)$/);
  });

  test('compares an ablation on its own seeds with the variant that changes nothing', () => {
    const { rows } = ablationTable(inventDistill(200))!;
    assert.deepEqual(
      rows.map(([name, changed]) => [name, changed]),
      [
        ['GAD', '–'],
        ['frozen', 'discriminator.isFrozen: true'],
      ],
    );
    // 140 against 200 of 300: −20 points (Newcombe).
    assert.match(String(rows[1][3]), /^−20 \(−27\.\d to −12\.\d\)$/);
    const { distill, details } = inventDistill(200);
    const plain = { distill: { ...distill, rows: distill.rows.slice(0, 3) }, details };
    assert.equal(ablationTable(plain), undefined);
  });

  test('holds a figure for each number of the steps, the toy, the alarms; what comes from outside stays text', async () => {
    const folder = join(root, 'whole');
    await mkdir(folder);
    const { path } = await writeDistillReport(folder, inventDistill(200));
    const page = await readFile(path, 'utf8');
    for (const text of ['a &lt;run&gt;', 'too &lt;long&gt;', 'parcel at &lt;dock&gt;', '&lt;b&gt;', '(nothing)'])
      assert.ok(page.includes(text), text);
    assert.ok(!page.includes('<long>') && !page.includes('<dock>'));
    assert.ok(
      page.includes('800 answers, 7200 + 24000 tokens, 0.258 USD') && page.includes('2 questions got no answer'),
    );
    const expected = [
      ...['accuracy', 'discriminator', 'entropy', 'kl', 'length', 'reward', 'rouge', 'toy', 'validation'],
    ];
    assert.deepEqual(
      (await readdir(join(folder, 'figures'))).sort(),
      expected.map((name) => `${name}.svg`),
    );
    assert.ok(!/https?:\/\/(?!www\.w3\.org)/.test(page.replace(/<pre>[\s\S]*?<\/pre>/g, '')), 'nothing is loaded');
    await writeDistillReport(folder, inventDistill(200));
    assert.equal(await readFile(path, 'utf8'), page, 'the same bytes');
  });

  test('fills while the run lasts: curves of a student in training, and who is at work', async () => {
    const folder = join(root, 'live');
    const server = await serveRun(folder, { records: DISTILL_PAGES, intervalMs: 20 });
    const body = async () => (await fetch(`${server.url}body`)).text();
    try {
      assert.match(await body(), /distillation run[\s\S]*The run is starting/);
      await writeRecords(folder, unfinished(12));
      const first = await body();
      assert.match(first, /In progress\.[\s\S]*1 of 4 students done; at work: GAD, seed 1/);
      await writeRecords(folder, unfinished(25));
      const second = await body();
      const reward = (page: string) => /<figure id="reward">[\s\S]*?<\/figure>/.exec(page)?.[0];
      assert.notEqual(reward(first), reward(second));
      assert.ok(reward(second)!.includes('GAD'));
    } finally {
      await server.dispose();
    }
  });

  test('damaged records are refused by name', async () => {
    const folder = join(root, 'damaged');
    await writeRecords(folder, inventDistill(200));
    assert.ok(isDistillRun(folder) && !isDistillRun(root));
    assert.deepEqual(await readDistillRecords(folder), JSON.parse(JSON.stringify(inventDistill(200))));
    const path = join(folder, 'distill.json');
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.replace('"correct":150', '"correct":1500'));
    await assert.rejects(readDistillRecords(folder), /distill\.json: rows\.0\.inDistribution: more right answers/);
    await writeFile(path, text.replace('"schemaVersion":1', '"schemaVersion":7'));
    await assert.rejects(readDistillRecords(folder), /schema version 7; this program reads version 1/);
    await writeFile(path, text.slice(0, 40));
    await assert.rejects(readDistillRecords(folder), /is not JSON.*azeotrope distill/);
  });
});
