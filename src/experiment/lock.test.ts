import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { AzeotropeError, ConfigError } from '../support/errors.js';
import { lockRun } from './lock.js';

const root = mkdtempSync(join(tmpdir(), 'azeotrope-lock-'));
after(() => rmSync(root, { recursive: true }));
const folderOf = (name: string) => join(root, name);
const lockFile = (name: string) => join(folderOf(name), 'lock.json');
const quietly = { onWait: () => {} };

/** A process that has ended. */
const deadPid = spawnSync(process.execPath, ['-e', '']).pid;

/** Leaves a lock as another process would. */
async function leaveLock(name: string, changes: object): Promise<void> {
  const lock = await lockRun(folderOf(name), quietly);
  const own = JSON.parse(readFileSync(lockFile(name), 'utf8'));
  await lock.release();
  writeFileSync(lockFile(name), JSON.stringify({ ...own, ...changes }));
}

test('a second holder waits, told once for whom, until the first is done', async () => {
  const first = await lockRun(folderOf('two'), quietly);
  const told: string[] = [];
  let isReleased = false;
  const second = lockRun(folderOf('two'), { onWait: (message) => void told.push(message) }).then((lock) => {
    assert.ok(isReleased);
    return lock;
  });
  await new Promise((resolve) => setTimeout(resolve, 1200));
  isReleased = true;
  await first.release();
  await (await second).release();
  assert.equal(told.length, 1);
  assert.match(told[0], new RegExp(`is in use by process ${process.pid} since .*Waiting for it\\.`));
  assert.deepEqual(readdirSync(folderOf('two')), []);
});

test('of many that come at once, one at a time has the folder, also where they find a dead lock', async () => {
  await leaveLock('many', { pid: deadPid, startTicks: null });
  let numHolders = 0;
  let most = 0;
  const hold = async () => {
    const lock = await lockRun(folderOf('many'), quietly);
    numHolders += 1;
    most = Math.max(most, numHolders);
    await new Promise((resolve) => setTimeout(resolve, 20));
    await lock.check();
    numHolders -= 1;
    await lock.release();
  };
  await Promise.all([hold(), hold(), hold()]);
  assert.equal(most, 1);
});

test('a lock of the dead is taken over, also where its number belongs to another process by now', async () => {
  for (const [name, holder] of [
    ['dead', { pid: deadPid, startTicks: null }],
    ['reused', { pid: process.pid, startTicks: '1' }],
  ] as const) {
    await leaveLock(name, holder);
    const lock = await lockRun(folderOf(name), quietly);
    await lock.check();
    await lock.release();
    assert.ok(!existsSync(lockFile(name)));
  }
});

test('what a broken write left is removed with the lock, and a lock that cannot be read is dead', async () => {
  await leaveLock('torn', {});
  writeFileSync(lockFile('torn'), '{"pid":');
  writeFileSync(join(folderOf('torn'), '.run.json.0123456789ab.tmp'), 'half');
  const lock = await lockRun(folderOf('torn'), quietly);
  assert.deepEqual(readdirSync(folderOf('torn')), ['lock.json']);
  await lock.release();
});

test('a folder whose holder is dead is not free before the workers are', async () => {
  const worker = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 1500)']);
  const ended = new Promise((resolve) => worker.on('exit', resolve));
  const first = await lockRun(folderOf('workers'), quietly);
  await first.setWorkers([worker.pid!]);
  const left = JSON.parse(readFileSync(lockFile('workers'), 'utf8'));
  await first.release();
  writeFileSync(lockFile('workers'), JSON.stringify({ ...left, pid: deadPid, startTicks: null }));
  const lock = await lockRun(folderOf('workers'), quietly);
  assert.notEqual(worker.exitCode, null);
  await lock.release();
  await ended;
});

test('a lock of another machine is refused, naming the process and the file', async () => {
  await leaveLock('host', { host: `not-${hostname()}`, pid: 77 });
  await assert.rejects(lockRun(folderOf('host'), quietly), (error) => {
    return error instanceof ConfigError && /process 77 on not-.*remove .*lock\.json/.test(error.message);
  });
});

test('who has lost the folder is told, and leaves the other its lock', async () => {
  const lock = await lockRun(folderOf('lost'), quietly);
  writeFileSync(lockFile('lost'), '{"pid":1}');
  await assert.rejects(lock.check(), AzeotropeError);
  await lock.release();
  assert.equal(readFileSync(lockFile('lost'), 'utf8'), '{"pid":1}');
});

test('waiting ends with the signal', async () => {
  const lock = await lockRun(folderOf('signal'), quietly);
  const stop = new AbortController();
  const waiting = lockRun(folderOf('signal'), { signal: stop.signal, onWait: () => stop.abort() });
  await assert.rejects(waiting, { name: 'AbortError' });
  await lock.release();
});
