import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { ModelLoadError } from '../../support/errors.js';
import { isDiskFull } from '../../support/files.js';
import { causeOf, NetworkError, type RetryOptions, request, withRetries } from './hub-request.js';
import { type HubSettings, withoutToken } from './hub-settings.js';

const LOCK_POLL_MS = 300;

/** A file on the hub: what to fetch and what it must turn out to be. */
export interface RemoteFile {
  /** Within the repository. */
  readonly path: string;
  readonly url: string;
  readonly sizeBytes: number;
  /** SHA-256 of a large file; of a small one the SHA-1 of git's blob (`blob <size>\0` before the content). */
  readonly hash: { readonly kind: 'sha256' | 'git-blob'; readonly hex: string };
}

export interface DownloadOptions extends RetryOptions {
  readonly onProgress?: (progress: HubProgress) => void;
}

interface HubProgress {
  readonly file: string;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/**
 * Downloads a file to `target`, by way of `<target>.incomplete`: what an interrupted download left there is kept and
 * continued. The file appears under its name only after its size and hash have been checked.
 * @throws ModelLoadError: refused, interrupted, disk full, or not the file that the hub announced
 */
export async function downloadFile(
  file: RemoteFile,
  target: string,
  settings: HubSettings,
  options: DownloadOptions,
): Promise<void> {
  const release = await lock(`${target}.lock`, options.signal);
  try {
    // Another process may have fetched it while this one waited.
    if ((await sizeOf(target)) !== file.sizeBytes || file.sizeBytes === 0)
      await downloadAlone(file, target, settings, options);
  } finally {
    await release();
  }
}

async function downloadAlone(
  file: RemoteFile,
  target: string,
  settings: HubSettings,
  options: DownloadOptions,
): Promise<void> {
  const incomplete = `${target}.incomplete`;
  const hadPart = (await sizeOf(incomplete)) > 0;
  await withRetries((progress) => continueDownload(file, incomplete, settings, { ...options, progress }), options);
  if (await hasHash(incomplete, file)) return rename(incomplete, target);
  await rm(incomplete, { force: true });
  // The part found may have been of another file or torn: a whole download decides.
  if (hadPart) return downloadAlone(file, target, settings, options);
  throw new ModelLoadError(
    `${file.path}: what was downloaded does not have the ${file.hash.kind} hash that the hub announces. It was removed; run the command again.`,
  );
}

/** Lock files of this process. */
const held = new Set<string>();

/** Waits until nobody else who is alive holds the lock file, takes it and returns how to give it back. */
async function lock(path: string, signal: AbortSignal | undefined): Promise<() => Promise<void>> {
  for (;;) {
    try {
      await writeFile(path, String(process.pid), { flag: 'wx' });
      held.add(path);
      return async () => {
        await rm(path, { force: true });
        held.delete(path);
      };
    } catch (error) {
      const isTaken = error instanceof Error && 'code' in error && error.code === 'EEXIST';
      if (!isTaken)
        throw new ModelLoadError(
          `${path}: cannot be written (${causeOf(error)}). Set HF_HOME to a folder you can write to.`,
        );
    }
    const holder = Number(await readFile(path, 'utf8').catch(() => ''));
    if (!held.has(path) && !isAlive(holder)) await rm(path, { force: true });
    else await sleep(LOCK_POLL_MS);
    if (signal?.aborted) throw new ModelLoadError(`${path}: stopped while another process was downloading.`);
  }
}

function isAlive(processId: number): boolean {
  if (processId === process.pid || !Number.isInteger(processId) || processId <= 0) return false;
  try {
    process.kill(processId, 0); // asks only
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

async function continueDownload(
  file: RemoteFile,
  incomplete: string,
  settings: HubSettings,
  options: DownloadOptions & { progress: () => void },
): Promise<void> {
  const { signal } = options;
  const start = await sizeOf(incomplete);
  if (start === file.sizeBytes && start > 0) return;
  const isUsable = start < file.sizeBytes;
  const headers: Record<string, string> = isUsable && start > 0 ? { range: `bytes=${start}-` } : {};
  const response = await request(file.url, settings, { what: file.path, headers, signal });
  // Only 206 continues; a server that ignores the range sends everything, and 416 says that the part is no part of it.
  const offset = response.status === 206 ? start : 0;
  if (response.status === 416) {
    await response.body?.cancel();
    await rm(incomplete, { force: true });
    throw new NetworkError(`${file.path}: the server cannot continue at byte ${start}. Run the command again.`);
  }
  const handle = await open(incomplete, offset > 0 ? 'a' : 'w').catch((error: unknown) => {
    throw writeFailure(error, file, incomplete);
  });
  let doneBytes = offset;
  try {
    for await (const chunk of receive(response, file, settings, options)) {
      if (doneBytes + chunk.byteLength > file.sizeBytes)
        throw new ModelLoadError(`${file.path}: the server sends more than the ${file.sizeBytes} bytes it announced.`);
      await handle.writeFile(chunk).catch((error: unknown) => {
        throw writeFailure(error, file, incomplete);
      });
      doneBytes += chunk.byteLength;
      options.progress();
      options.onProgress?.({ file: file.path, doneBytes, totalBytes: file.sizeBytes });
    }
    if (doneBytes === file.sizeBytes) await handle.sync();
  } finally {
    await handle.close();
  }
  if (doneBytes < file.sizeBytes)
    throw new NetworkError(interruption(file, doneBytes, 'the server closed the connection'));
}

/** The body's chunks; a broken connection is a NetworkError, a user's interruption a ModelLoadError. */
async function* receive(
  response: Response,
  file: RemoteFile,
  settings: HubSettings,
  options: DownloadOptions,
): AsyncGenerator<Uint8Array> {
  let received = 0;
  try {
    for await (const chunk of response.body ?? []) {
      const bytes = chunk as Uint8Array;
      received += bytes.byteLength;
      yield bytes;
    }
  } catch (error) {
    if (options.signal?.aborted) throw new ModelLoadError(interruption(file, received, 'stopped'));
    throw new NetworkError(withoutToken(interruption(file, received, causeOf(error)), settings));
  }
}

function interruption(file: RemoteFile, bytes: number, reason: string): string {
  return `${file.path}: the download was interrupted after ${bytes} of ${file.sizeBytes} bytes (${reason}). Run the command again: it continues from there.`;
}

function writeFailure(error: unknown, file: RemoteFile, path: string): unknown {
  if (!isDiskFull(error))
    return new ModelLoadError(
      `${path}: cannot be written (${causeOf(error)}). Set HF_HOME to a folder you can write to.`,
    );
  return new ModelLoadError(
    `${file.path}: the disk is full; the file has ${file.sizeBytes} bytes. Free space, or set HF_HOME to another disk, and run the command again: it continues.`,
  );
}

async function sizeOf(path: string): Promise<number> {
  const status = await stat(path).catch(() => undefined);
  return status?.size ?? 0;
}

async function hasHash(path: string, file: RemoteFile): Promise<boolean> {
  if ((await sizeOf(path)) !== file.sizeBytes) return false;
  const hash: Hash = createHash(file.hash.kind === 'sha256' ? 'sha256' : 'sha1');
  if (file.hash.kind === 'git-blob') hash.update(`blob ${file.sizeBytes}\0`);
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return hash.digest('hex') === file.hash.hex;
}
