import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { DataError } from './errors.js';
import { countRows, openJsonlAppender, readJsonl, type TornLine } from './jsonl.js';

const folder = mkdtempSync(join(tmpdir(), 'azeotrope-jsonl-'));
after(() => rmSync(folder, { recursive: true }));
let numFiles = 0;

function fileOf(content: string | Uint8Array): string {
  const path = join(folder, `${numFiles++}.jsonl`);
  writeFileSync(path, content);
  return path;
}

async function readAll(path: string): Promise<{ rows: unknown[]; lines: number[]; torn: TornLine[] }> {
  const result = { rows: [] as unknown[], lines: [] as number[], torn: [] as TornLine[] };
  for await (const { row, line } of readJsonl(path, { onTornLine: (torn) => result.torn.push(torn) })) {
    result.rows.push(row);
    result.lines.push(line);
  }
  return result;
}

test('what is appended is read back, through reopening, for any rows', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(fc.jsonValue())), async (batches) => {
      const path = fileOf('');
      const rows = JSON.parse(JSON.stringify(batches.flat()));
      for (const batch of batches) {
        const appender = await openJsonlAppender(path);
        for (const row of batch) appender.append(row);
        appender.close();
      }
      assert.deepEqual((await readAll(path)).rows, rows);
      assert.equal(await countRows(path), rows.length);
    }),
    { numRuns: 30 },
  );
});

test('lines longer than a read buffer and characters split between buffers arrive whole', async () => {
  const rows = [{ text: 'ä€😀'.repeat(30_000) }, { text: 'x'.repeat(65_536) }, { text: '' }];
  assert.deepEqual((await readAll(fileOf(rows.map((row) => `${JSON.stringify(row)}\n`).join('')))).rows, rows);
});

test('a byte order mark, CRLF, blank lines and a missing last newline change no row; lines keep their numbers', async () => {
  const path = fileOf('\ufeff{"a":1}\r\n\r\n  \n{"a":2}\r\n{"a":3}');
  assert.deepEqual(await readAll(path), { rows: [{ a: 1 }, { a: 2 }, { a: 3 }], lines: [1, 4, 5], torn: [] });
  assert.equal(await countRows(path), 3);
});

test('wherever a crash cuts the file, whole rows survive and the rest is reported, dropped and repaired', async () => {
  const content = Buffer.from('{"a":"ä"}\n{"a":"😀"}\n');
  for (let size = 0; size <= content.length; size++) {
    const path = fileOf(content.subarray(0, size));
    const { rows, torn } = await readAll(path);
    const numWhole = (size >= 10 ? 1 : 0) + (size >= 23 ? 1 : 0);
    assert.deepEqual(rows, [{ a: 'ä' }, { a: '😀' }].slice(0, numWhole), `cut at ${size}`);
    const hasTail = ![0, 10, 11, 23, 24].includes(size);
    assert.equal(torn.length, hasTail ? 1 : 0, `cut at ${size}`);

    const repaired: TornLine[] = [];
    const appender = await openJsonlAppender(path, { onTornLine: (line) => repaired.push(line) });
    appender.append({ a: 'new' });
    appender.close();
    assert.deepEqual(repaired, torn);
    assert.deepEqual((await readAll(path)).rows, [...rows, { a: 'new' }], `cut at ${size}`);
    assert.equal(readFileSync(path, 'utf8').endsWith('\n{"a":"new"}\n'), numWhole > 0);
  }
});

test('a broken line before the last is an error that names file and line; so is invalid UTF-8', async () => {
  const broken = fileOf('{"a":1}\n{"a":\n{"a":3}\n');
  await assert.rejects(
    readAll(broken),
    (error) => error instanceof DataError && error.message.startsWith(`${broken}:2: `),
  );
  const binary = fileOf(Buffer.concat([Buffer.from('{"a":1}\n"'), Buffer.of(0xff), Buffer.from('"\n')]));
  await assert.rejects(readAll(binary), (error) => error instanceof DataError && /:2: .*UTF-8/.test(error.message));
  const missing = join(folder, 'absent.jsonl');
  await assert.rejects(readAll(missing), (error) => error instanceof DataError && error.message.includes(missing));
});

test('a disk that fills up in the middle of a row names the file and leaves whole rows only', async (context) => {
  if (process.platform === 'win32') return context.skip('needs a file size limit');
  const path = fileOf('');
  const script = `
    const { openJsonlAppender } = await import(${JSON.stringify(new URL('./jsonl.ts', import.meta.url).href)});
    const appender = await openJsonlAppender(${JSON.stringify(path)});
    for (;;) {
      try { appender.append({ text: 'x'.repeat(90) }); } catch (error) { console.log(error.name, error.message); break; }
    }`;
  // A file size limit of 4 blocks of 512 or 1024 bytes is met in the middle of a row, as a full disk is.
  const command = 'ulimit -f 4; exec "$0" "$@"';
  const args = [process.execPath, '--import', 'tsx', '--input-type=module', '-e', script];
  const result = spawnSync('sh', ['-c', command, ...args], {
    encoding: 'utf8',
    env: { ...process.env, TSX_DISABLE_CACHE: '1' },
  });
  assert.match(result.stdout, /^DataError Cannot write .*disk is full/, result.stderr);
  assert.ok(result.stdout.includes(path));
  const { rows, torn } = await readAll(path);
  assert.ok(rows.length >= 19 && torn.length === 0 && readFileSync(path).length === rows.length * 102);
  appendFileSync(path, '{"text":');
  assert.equal(await countRows(path), rows.length);
});

test('memory does not grow with the file', async () => {
  const path = fileOf('');
  const rows = `${JSON.stringify({ text: 'y'.repeat(10_000) })}\n`.repeat(100);
  for (let written = 0; written < 240; written++) appendFileSync(path, rows); // 240 MB
  const before = process.memoryUsage().rss;
  assert.equal(await countRows(path), 24_000);
  let numRows = 0;
  for await (const _ of readJsonl(path)) numRows += 1;
  assert.equal(numRows, 24_000);
  const growthBytes = process.memoryUsage().rss - before;
  assert.ok(growthBytes < 150e6, `${growthBytes} bytes`);
});
