import { randomBytes } from 'node:crypto';
import { access, mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { fileError } from './files.js';

/**
 * Makes a folder so that a reader, or a crash, sees all of it or nothing: `fill` writes into a temporary folder beside it, which
 * is then renamed. A folder that is already there is replaced.
 * @throws DataError where the disk is full or not writable, and whatever `fill` throws; nothing is left behind
 */
export async function writeFolderAtomic(path: string, fill: (folder: string) => Promise<void>): Promise<void> {
  const target = resolve(path);
  const temporary = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    await mkdir(temporary, { recursive: true });
    await fill(temporary);
    await replaceFolder(temporary, target);
  } catch (error) {
    // Where the parent is no folder, removing fails as making did: the first failure is the one to tell.
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
    throw fileError(error, 'write', path);
  }
}

/** A folder cannot be renamed over a filled one: the old one is moved aside first and removed once the new one is in place. */
async function replaceFolder(from: string, to: string): Promise<void> {
  const aside = `${from}.old`;
  const isThere = await access(to).then(
    () => true,
    () => false,
  );
  if (isThere) await rename(to, aside);
  await rename(from, to);
  await syncFolder(dirname(to));
  if (isThere) await rm(aside, { recursive: true, force: true });
}

/** Makes a rename in a folder durable. Not every system lets a folder be opened: there the rename stays merely atomic. */
async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
