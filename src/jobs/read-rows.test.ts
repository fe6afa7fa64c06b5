import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DataError } from '../support/errors.js';
import { openTokenizer } from '../tokenizer/open.js';
import { type ReadRowsOptions, readRows } from './read-rows.js';

const folder = mkdtempSync(join(tmpdir(), 'read-rows-test-'));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'rows.jsonl');
const words = openTokenizer({ kind: 'words', words: ['<eos>', 'a', 'b', 'c'], eosToken: '<eos>' });

async function read(lines: readonly unknown[], options: Partial<ReadRowsOptions> = {}) {
  const text = lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n');
  writeFileSync(path, text);
  return readRows(path, { tokenizer: undefined, vocabSize: 8, ...options });
}

test('ids, text and traces become token ids with the place where the response begins', async () => {
  const rows = [
    { id: 1, tokens: [1, 2, 3] },
    { id: 2, tokens: [1, 2, 3], responseStart: 2 },
    { id: 'three', prompt: 'a b', response: 'c', note: 'ignored' },
    { id: 4, prompt: 'a b' },
    { id: 5, promptTokens: [4], tokens: [5, 6], text: '' },
  ];
  assert.deepEqual(await read(rows, { tokenizer: words }), [
    { id: 1, tokens: [1, 2, 3], responseStart: 0 },
    { id: 2, tokens: [1, 2, 3], responseStart: 2 },
    { id: 'three', tokens: [1, 2, 3, 0], responseStart: 2 },
    { id: 4, tokens: [1, 2], responseStart: 2 },
    { id: 5, tokens: [4, 5, 6], responseStart: 1 },
  ]);
});

const good = { id: 0, tokens: [1] };
const mistakes: [string, unknown, RegExp][] = [
  ['a line that is no JSON', '{"id":2,', /the line is not valid JSON/],
  ['no id', { tokens: [1] }, /the row has no "id" \(text or a number\)\. Add one/],
  ['a list', [1, 2], /a row must be an object/],
  ['null', null, /a row must be an object/],
  ['nothing to read', { id: 1 }, /none of "tokens", "prompt" and "messages"/],
  ['an id of the vocabulary that is not there', { id: 1, tokens: [1, 8] }, /"tokens"\[1\] is 8; .* 0 to 7/],
  ['a word among ids', { id: 1, tokens: ['a'] }, /"tokens"\[0\] is "a"/],
  [
    'a response that begins behind the end',
    { id: 1, tokens: [1], responseStart: 2 },
    /"responseStart" is 2; .* 1 tokens/,
  ],
  ['text without a tokenizer', { id: 1, prompt: 'a' }, /the row is text, but the model has no tokenizer/],
  ['the same id again', { id: 0, tokens: [2] }, /the id 0 is that of line 1 too/],
  ['the same id as text', { id: '0', tokens: [2] }, /the id "0" is that of line 1 too/],
];
for (const [name, row, message] of mistakes) {
  test(`refused with file and line: ${name}`, async () => {
    await assert.rejects(read([good, row, good]), (error) => {
      assert.ok(error instanceof DataError);
      assert.ok(error.message.startsWith(`${path}:2: `), error.message);
      assert.match(error.message, message);
      return true;
    });
  });
}

test('a conversation without a chat template is refused with file and line', async () => {
  const row = { id: 1, messages: [{ role: 'user', content: 'a' }] };
  await assert.rejects(read([row], { tokenizer: words }), /rows\.jsonl:1: .*chat template/);
});

test('an empty file is refused; a last line that was cut off is told and left out', async () => {
  await assert.rejects(read([]), /rows\.jsonl: there are no rows in this file/);
  const told: string[] = [];
  const rows = await read([good, '{"id":1,"tok'], { log: (message) => told.push(message) });
  assert.equal(rows.length, 1);
  assert.match(told.join(), /rows\.jsonl:2: the last line is cut off and was left out/);
});

test('samples of one prompt may share an id where they are told apart, rows may repeat only where it is allowed', async () => {
  const samples = [0, 1].map((sample) => ({ id: 'p', sample, promptTokens: [1], tokens: [2] }));
  assert.equal((await read(samples, { repeatedIds: 'samples' })).length, 2);
  await assert.rejects(read(samples), /the id "p" is that of line 1 too/);
  await assert.rejects(read([...samples, samples[1]], { repeatedIds: 'samples' }), /:3: .* line 2 too/);
  assert.equal((await read([good, good], { repeatedIds: 'allow' })).length, 2);
});
