import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DataError } from './errors.js';
import { readText, writeFileAtomic } from './files.js';

const folder = mkdtempSync(join(tmpdir(), 'azeotrope-files-'));
after(() => rmSync(folder, { recursive: true }));

test('an atomic write replaces the whole content and leaves no temporary file', async () => {
  const path = join(folder, 'replaced.txt');
  writeFileSync(path, 'a much longer old content');
  await writeFileAtomic(path, 'new');
  assert.equal(readFileSync(path, 'utf8'), 'new');
  await writeFileAtomic(path, [Buffer.from('in '), Buffer.from('chunks')]);
  assert.equal(readFileSync(path, 'utf8'), 'in chunks');
  assert.deepEqual(readdirSync(folder), ['replaced.txt']);
});

test('a write that fails half-way keeps the old content, cleans up and passes the cause on', async () => {
  const path = join(folder, 'replaced.txt');
  writeFileSync(path, 'old');
  async function* chunks() {
    yield Buffer.from('half');
    throw new Error('the source broke');
  }
  await assert.rejects(writeFileAtomic(path, chunks()), /the source broke/);
  assert.equal(readFileSync(path, 'utf8'), 'old');
  assert.deepEqual(readdirSync(folder), ['replaced.txt']);
});

test('a missing folder, a missing file, a folder and bytes that are not UTF-8 are each named', async () => {
  const missing = join(folder, 'absent', 'file.txt');
  await assert.rejects(
    writeFileAtomic(missing, ''),
    (error) => error instanceof DataError && error.message.includes(missing),
  );
  const below = join(folder, 'replaced.txt', 'file.txt');
  await assert.rejects(
    writeFileAtomic(below, ''),
    (error) => error instanceof DataError && error.message.includes(below),
  );
  await assert.rejects(readText(missing), (error) => error instanceof DataError && /no such file/.test(error.message));
  await assert.rejects(readText(folder), (error) => error instanceof DataError && /is a folder/.test(error.message));
  const binary = join(folder, 'binary');
  writeFileSync(binary, Uint8Array.of(0xff, 0x00));
  await assert.rejects(readText(binary), (error) => error instanceof DataError && /not UTF-8/.test(error.message));
});

test('a byte order mark is not part of the text', async () => {
  const path = join(folder, 'mark.txt');
  writeFileSync(path, '\ufeffäz');
  assert.equal(await readText(path), 'äz');
});
