import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DataError } from './errors.js';
import { writeFolderAtomic } from './folders.js';

const root = mkdtempSync(join(tmpdir(), 'folders-test-'));
after(() => rmSync(root, { recursive: true }));

test('a folder appears when it is whole, in folders made for it, and replaces an older one', async () => {
  const target = join(root, 'a', 'b');
  for (const text of ['old', 'new']) {
    await writeFolderAtomic(target, async (folder) => {
      await writeFile(join(folder, `${text}.txt`), text);
      assert.deepEqual(readdirSync(join(root, 'a')).includes('b'), text === 'new');
    });
  }
  assert.deepEqual(readdirSync(target), ['new.txt']);
  assert.deepEqual(readdirSync(join(root, 'a')), ['b']);
});

test('a failure leaves the old folder and nothing else', async () => {
  const target = join(root, 'kept');
  mkdirSync(target);
  writeFileSync(join(target, 'x'), '1');
  const failing = writeFolderAtomic(target, async (folder) => {
    await writeFile(join(folder, 'y'), '2');
    throw new RangeError('no');
  });
  await assert.rejects(failing, RangeError);
  assert.equal(readFileSync(join(target, 'x'), 'utf8'), '1');
  assert.deepEqual(
    readdirSync(root).filter((name) => name.startsWith('.')),
    [],
  );
});

test('a place that cannot hold folders is a DataError naming it', async () => {
  writeFileSync(join(root, 'file'), '');
  await assert.rejects(
    writeFolderAtomic(join(root, 'file', 'x'), async () => undefined),
    (error) => error instanceof DataError && error.message.includes(join(root, 'file', 'x')),
  );
});
