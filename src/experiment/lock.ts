/** One process at a time in a run folder. */

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { link, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AzeotropeError, ConfigError } from '../support/errors.js';
import { fileError, writeFileAtomic } from '../support/files.js';

interface ProcessName {
  readonly pid: number;
  /** Clock ticks from the start of the machine to that of the process; null where the system does not tell. Numbers are reused. */
  readonly startTicks: string | null;
}

interface Holder extends ProcessName {
  readonly host: string;
  readonly since: string;
  /** Processes that compute for it: the folder is free when they are gone too. */
  readonly workers: readonly ProcessName[];
}

export interface RunLock {
  /** Notes the processes that compute. */
  setWorkers(pids: readonly number[]): Promise<void>;
  /** Errors: AzeotropeError where another process has taken the folder. */
  check(): Promise<void>;
  release(): Promise<void>;
}

const FILE = 'lock.json';
const POLL_MS = 500;
/** After a lock was taken over from the dead: time for another that did the same to show. */
const SETTLE_MS = 200;

/**
 * Takes the lock of a run folder, waiting while a living process has it: `onWait` is told once who. A lock left by a process that
 * is gone is taken over once its workers are gone. Errors: ConfigError for a lock of another machine; the signal's reason.
 */
export async function lockRun(
  folder: string,
  { signal, onWait }: { signal?: AbortSignal | undefined; onWait: (message: string) => void },
): Promise<RunLock> {
  const path = join(folder, FILE);
  let isTold = false;
  for (;;) {
    signal?.throwIfAborted();
    const own = holderNow();
    if (await tryCreate(path, own)) return clean(folder, createLock(path, own));
    const text = await readLock(path);
    const holder = text === undefined ? undefined : parse(text);
    if (text === undefined) continue;
    if (holder !== undefined && holder.host !== own.host) {
      throw new ConfigError(
        `${folder} is in use by process ${holder.pid} on ${holder.host} since ${holder.since}. Wait for it, or remove ${path} if that process is gone.`,
      );
    }
    const living = holder === undefined ? undefined : [holder, ...holder.workers].find(isAlive);
    if (living === undefined) {
      if (await takeOver(path, text, own)) return clean(folder, createLock(path, own));
    } else if (!isTold) {
      isTold = true;
      onWait(`${folder} is in use by process ${holder!.pid} since ${holder!.since}. Waiting for it.`);
    }
    await sleep(POLL_MS, undefined, { signal });
  }
}

/** Removes what writes that were cut off have left in the folder itself. */
async function clean(folder: string, lock: RunLock): Promise<RunLock> {
  for (const name of await readdir(folder)) {
    if (/^\.[\w.-]+\.[0-9a-f]{12}\.tmp$/.test(name)) await rm(join(folder, name), { recursive: true, force: true });
  }
  return lock;
}

function createLock(path: string, own: Holder): RunLock {
  let current = JSON.stringify(own);
  let lastWrite: Promise<void> = Promise.resolve();
  const check = async () => {
    if ((await readLock(path)) === current) return;
    throw new AzeotropeError(
      `${path}: another process has taken this run folder over. This one stops; nothing is lost.`,
    );
  };
  const write = async (next: string) => {
    await check();
    await writeFileAtomic(path, next);
    current = next;
  };
  return {
    setWorkers(pids) {
      const next = JSON.stringify({ ...own, workers: pids.map(nameProcess) });
      lastWrite = lastWrite.then(() => write(next));
      return lastWrite;
    },
    async check() {
      await lastWrite;
      await check();
    },
    async release() {
      await lastWrite.catch(() => undefined);
      if ((await readLock(path)) === current) await rm(path, { force: true });
    },
  };
}

const holderNow = (): Holder => ({
  ...nameProcess(process.pid),
  host: hostname(),
  since: new Date().toISOString(),
  workers: [],
});

/** A name of its own beside the lock, of the form that `clean` removes. */
const temporaryName = (path: string): string =>
  join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);

/** Creates the lock whole or not at all: a link fails where the name is taken. */
async function tryCreate(path: string, own: Holder): Promise<boolean> {
  const temporary = temporaryName(path);
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(temporary, JSON.stringify(own));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw fileError(error, 'write', path);
  }
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    // ENOENT: the holder has cleaned the folder meanwhile.
    if (['EEXIST', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw fileError(error, 'write', path);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Moves a dead lock aside and takes its place. False where another process was faster. */
async function takeOver(path: string, deadText: string, own: Holder): Promise<boolean> {
  const aside = temporaryName(path);
  try {
    await rename(path, aside);
  } catch {
    return false; // another process has moved it
  }
  const moved = await readFile(aside, 'utf8').catch(() => '');
  if (moved !== deadText) await link(aside, path).catch(() => undefined); // a living one's: put it back
  await rm(aside, { force: true });
  if (moved !== deadText || !(await tryCreate(path, own))) return false;
  await sleep(SETTLE_MS);
  return (await readLock(path)) === JSON.stringify(own);
}

async function readLock(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw fileError(error, 'read', path);
  });
}

/** Undefined for what no process of this program wrote: such a lock is dead. */
function parse(text: string): Holder | undefined {
  try {
    const { pid, startTicks, host, since, workers } = JSON.parse(text) as Holder;
    return Number.isInteger(pid) && Array.isArray(workers) ? { pid, startTicks, host, since, workers } : undefined;
  } catch {
    return undefined;
  }
}

const nameProcess = (pid: number): ProcessName => ({ pid, startTicks: startTicksOf(pid) });

function isAlive({ pid, startTicks }: ProcessName): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const now = startTicksOf(pid);
  return startTicks === null || now === null || now === startTicks;
}

/** Field 22 of /proc/<pid>/stat, counted behind the name in brackets, which may hold anything; a zombie counts as gone. */
function startTicksOf(pid: number): string | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? 'gone' : fields[19];
  } catch {
    return null; // no such process, or a system without /proc
  }
}
