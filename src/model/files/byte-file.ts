import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { ModelLoadError, messageOf } from '../../support/errors.js';

/** A file open for reading at any place. Its size was taken when it was opened; claims in headers are checked against it. */
export interface ByteFile {
  readonly path: string;
  readonly sizeBytes: number;
  /**
   * Fills `into` with the bytes from `offset` on.
   * @throws ModelLoadError where the file ends before
   */
  readAt(offset: number, into: Uint8Array): void;
  dispose(): void;
}

/** @throws ModelLoadError where there is no such file, or it is a folder or cannot be read */
export function openByteFile(path: string): ByteFile {
  const descriptor = attempt(path, () => openSync(path, 'r'));
  const status = fstatSync(descriptor);
  if (!status.isFile()) {
    closeSync(descriptor);
    throw new ModelLoadError(`${path}: not a file. Name a model file, or the folder that holds config.json.`);
  }
  let isOpen = true;
  return {
    path,
    sizeBytes: status.size,
    readAt(offset, into) {
      for (let done = 0; done < into.byteLength; ) {
        // One call reads at most 2^31 - 1 bytes.
        const length = Math.min(into.byteLength - done, 2 ** 30);
        const got = attempt(path, () => readSync(descriptor, into, done, length, offset + done));
        if (got === 0)
          throw new ModelLoadError(
            `${path}: ends at byte ${offset + done}, expected ${into.byteLength - done} more. Was it changed or cut off? Download it again.`,
          );
        done += got;
      }
    },
    dispose() {
      if (isOpen) closeSync(descriptor);
      isOpen = false;
    },
  };
}

function attempt<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw new ModelLoadError(`${path}: ${reasonOf(error)}`);
  }
}

/** A failed file operation in words. */
export function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOENT') return 'there is no such file. Check the path, or download the model again.';
  if (code === 'ELOOP') return 'the link leads back to itself. Replace it by the file.';
  if (code === 'EACCES' || code === 'EPERM') return 'permission denied. Check who owns it.';
  if (code === 'EISDIR') return 'it is a folder, not a file.';
  return `${messageOf(error)}.`;
}
