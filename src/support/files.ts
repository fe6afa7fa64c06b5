import { randomBytes } from 'node:crypto';
import { open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { TextDecoder } from 'node:util';
import { DataError, messageOf } from './errors.js';

/**
 * Writes a file so that a reader, or a crash, sees the old content or the new, never a part: temporary file in the same
 * folder, fsync, rename. `data` may be chunks, so that a large file is never whole in memory.
 * @throws DataError where the disk is full or the folder is missing or not writable; nothing is left behind
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    const handle = await open(temporary, 'wx');
    try {
      await writeFile(handle, data);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    // Where the parent is no folder, removing fails as opening did: the first failure is the one to tell.
    await rm(temporary, { force: true }).catch(() => undefined);
    throw fileError(error, 'write', path);
  }
  await syncFolder(dirname(path));
}

/**
 * The text of a UTF-8 file, without a byte order mark.
 * @throws DataError where the file is missing, is a folder, cannot be read or is not UTF-8
 */
export async function readText(path: string): Promise<string> {
  const bytes = await readFile(path).catch((error: unknown) => {
    throw fileError(error, 'read', path);
  });
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new DataError(`${path} is not UTF-8 text. Convert it to UTF-8, or name another file.`);
  }
}

/** True where a failure means that the disk, a quota or a file size limit is exhausted. */
export function isDiskFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(codeOf(error));
}

/** What a failed file operation means to the user; anything that is not a system error is returned as it is. */
export function fileError(error: unknown, verb: 'read' | 'write', path: string): unknown {
  if (isDiskFull(error))
    return new DataError(
      `Cannot write ${path}: the disk is full (${codeOf(error)}). Free some space, then run the command again.`,
    );
  const reason = REASONS[codeOf(error)];
  if (reason) return new DataError(`Cannot ${verb} ${path}: ${reason}`);
  const isSystemError = codeOf(error) !== '' && error instanceof Error && 'syscall' in error;
  return isSystemError ? new DataError(`Cannot ${verb} ${path}: ${messageOf(error)}.`) : error;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder. Check the path.',
  ENOTDIR: 'a part of the path is a file, not a folder. Check the path.',
  EEXIST: 'a file of this name stands where a folder is needed. Name another place.',
  EISDIR: 'it is a folder, not a file. Name a file in it.',
  EACCES: 'permission denied. Check who owns it.',
  EPERM: 'permission denied. Check who owns it.',
  EROFS: 'the file system is read-only. Name another place.',
};

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
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
