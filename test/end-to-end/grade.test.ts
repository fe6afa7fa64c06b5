import assert from 'node:assert/strict';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readRows, run, runJson, temporaryFolder, writeRows } from './program.fixture.js';

const folder = temporaryFolder();
const file = (name: string) => join(folder, name);

/** A comparison of some seconds: every formula of one set is compared with every one of the other. */
const items = Array.from({ length: 490 }, (_, index) => `x+${index}`);
const SLOW = {
  id: 'slow',
  expected: `\\boxed{${items.join(',')}}`,
  actual: `\\boxed{${[...items].reverse().join(',')}}`,
};

const pairs = [
  { id: 'a', expected: '\\frac{1}{2}', actual: '0.5' },
  { id: 2, expected: '18', actual: 'She makes 9 * 2 = $18.\n#### 18' },
  { id: 'c', expected: '(1,2)', actual: 'so the point is \\boxed{(2,1)}' },
  { id: 'd', expected: 7, actual: 7 },
];
const input = writeRows(file('pairs.jsonl'), pairs);
const verdicts = [
  { id: 'a', equal: true },
  { id: 2, equal: true },
  { id: 'c', equal: false },
  { id: 'd', equal: true },
];

test('verdicts stand on standard output in the order of the pairs, or in the output, with id and equal alone', async () => {
  const output = file('verdicts.jsonl');
  const [printed, summary] = await Promise.all([
    run(['grade', '--input', input, '--quiet']),
    runJson(['grade', '--input', input, '--output', output]),
  ]);
  assert.deepEqual({ code: printed.code, stderr: printed.stderr }, { code: 0, stderr: '' });
  assert.deepEqual(
    printed.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
    verdicts,
  );
  assert.deepEqual(readRows(output), verdicts);
  const { interval, ...counts } = summary;
  assert.deepEqual(counts, { output, numRows: 4, numEqual: 3, numTimeouts: 0 });
  assert.ok(interval.lower > 0.3 && interval.lower < 0.75 && interval.upper > 0.75 && interval.upper < 1);
});

test('a pathological pair ends at the time limit as not equal, and the rows behind it are graded', async () => {
  const output = file('limited.jsonl');
  const mixed = writeRows(file('slow.jsonl'), [
    SLOW,
    { id: 'tower', expected: '5', actual: '9^{9^{9^{9}}}' },
    { id: 'after', expected: '1/2', actual: 'The answer is 0.5' },
  ]);
  const { numTimeouts } = await runJson([
    'grade',
    '--input',
    mixed,
    '--output',
    output,
    '--explain',
    '--time-limit-ms',
    '100',
  ]);
  assert.equal(numTimeouts, 1);
  const rows = readRows(output);
  assert.deepEqual(
    rows.map(({ id, equal, rule }) => [id, equal, rule]),
    [
      ['slow', false, 'timeout'],
      ['tower', false, 'whole'],
      ['after', true, 'fallback'],
    ],
  );
  assert.ok(rows.every(({ durationMs }) => durationMs > 0 && durationMs < 5000));
});

test('a torn output is continued, one of other pairs is refused and left as it is', async () => {
  const output = file('torn.jsonl');
  writeFileSync(output, `${JSON.stringify(verdicts[0])}\n`);
  appendFileSync(output, '{"id":2,"eq');
  await runJson(['grade', '--input', input, '--output', output]);
  assert.deepEqual(readRows(output), verdicts);

  const foreign = '{"id":"a","equal":false}\n';
  writeFileSync(output, foreign);
  const refused = await run(['grade', '--input', input, '--output', output]);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /torn\.jsonl:1: this file holds verdicts of other pairs/);
  assert.equal(readFileSync(output, 'utf8'), foreign);
});

test('a wrong row is one message with file and line and exit code 2, before anything is written', async () => {
  const wrong: [object, RegExp][] = [
    [{ id: 1, expected: '1' }, /:2: "actual" is missing, expected a text or a number\./],
    [{ expected: '1', actual: '1' }, /:2: the row has no "id"/],
    [{ id: 1, expected: null, actual: '1' }, /:2: "expected" is null/],
  ];
  await Promise.all(
    wrong.map(async ([row, message], index) => {
      const path = writeRows(file(`wrong-${index}.jsonl`), [pairs[0], row]);
      const { code, stdout, stderr } = await run(['grade', '--input', path]);
      assert.deepEqual({ code, stdout }, { code: 2, stdout: '' });
      assert.match(stderr, message);
      assert.doesNotMatch(stderr, /\n\s+at /);
    }),
  );
});
