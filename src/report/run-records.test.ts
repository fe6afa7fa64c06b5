import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DataError } from '../support/errors.js';
import { inventDetails, inventTradeoff } from './records.fixture.js';
import { readRecords } from './run-records.js';
import { writeReport } from './write-report.js';

const root = mkdtempSync(join(tmpdir(), 'azeotrope-report-'));
after(() => rmSync(root, { recursive: true, force: true }));

const tradeoff = inventTradeoff({ teachers: 1, seeds: 1 });
const details = inventDetails();

function runFolder(name: string, files: Readonly<Record<string, unknown>>): string {
  const folder = join(root, name);
  mkdirSync(folder);
  for (const [file, content] of Object.entries(files)) {
    writeFileSync(join(folder, file), typeof content === 'string' ? content : JSON.stringify(content));
  }
  return folder;
}

const whole = { 'tradeoff.json': tradeoff, 'details.json': details };

test('what a run wrote is read as it is', async () => {
  assert.deepEqual(await readRecords(runFolder('whole', whole)), { tradeoff, details });
});

test('fields that a later program adds do no harm', async () => {
  const folder = runFolder('later', { ...whole, 'tradeoff.json': { ...tradeoff, added: 1 } });
  assert.deepEqual((await readRecords(folder)).tradeoff, tradeoff);
});

test('a bad folder, an older schema and damaged records are one message each, which names file and field', async () => {
  const [point] = tradeoff.points;
  const broken = { ...point, teacher: { correct: 301, total: 300 } };
  const cases: readonly (readonly [string, RegExp])[] = [
    [join(root, 'nowhere'), /nowhere: there is no such folder\./],
    [join(root, 'whole', 'details.json'), /is a file\. Name the folder of a trade-off run/],
    [runFolder('empty', {}), /has no tradeoff\.json and no details\.json: .* no folder of a trade-off run/],
    [runFolder('half', { 'tradeoff.json': tradeoff }), /has no details\.json/],
    [
      runFolder('old', { ...whole, 'tradeoff.json': { ...tradeoff, schemaVersion: 0 } }),
      /tradeoff\.json has schema version 0; this program reads version 1\./,
    ],
    [runFolder('none', { ...whole, 'details.json': {} }), /details\.json has schema version none/],
    [runFolder('null', { ...whole, 'details.json': 'null' }), /details\.json has schema version none/],
    [runFolder('torn', { ...whole, 'tradeoff.json': '{"schemaVersion":1,' }), /tradeoff\.json is not JSON .* damaged/],
    [runFolder('lost', { ...whole, 'tradeoff.json': { ...tradeoff, points: undefined } }), /tradeoff\.json: points: /],
    [
      runFolder('wrong', { ...whole, 'tradeoff.json': { ...tradeoff, points: [point, broken] } }),
      /points\.1\.teacher: more right answers than questions/,
    ],
  ];
  for (const [folder, message] of cases) {
    await assert.rejects(
      readRecords(folder),
      (error: unknown) => error instanceof DataError && message.test(error.message),
    );
  }
});

test('a report is made over an older one: the same bytes, figures that are no longer there go, records stay', async () => {
  const folder = runFolder('again', whole);
  const { path, figures } = await writeReport(folder);
  const first = readFileSync(path, 'utf8');
  writeFileSync(join(folder, 'figures', 'old.svg'), '<svg/>');
  await writeReport(folder);
  assert.equal(readFileSync(path, 'utf8'), first);
  assert.deepEqual(readdirSync(join(folder, 'figures')).sort(), figures.map((each) => each.split('/').at(-1)!).sort());
  assert.deepEqual(readdirSync(folder).sort(), ['details.json', 'figures', 'report.html', 'tradeoff.json']);
  assert.deepEqual(JSON.parse(readFileSync(join(folder, 'tradeoff.json'), 'utf8')), tradeoff);
});
