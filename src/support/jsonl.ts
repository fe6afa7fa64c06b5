import { closeSync, fdatasyncSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { TextDecoder } from 'node:util';
import { DataError, invariant, messageOf } from './errors.js';
import { fileError } from './files.js';

/** A last line that a crash cut off. */
export type TornLine = { path: string; line: number; sizeBytes: number };

export type JsonlOptions = {
  /** Told when a torn last line is dropped; without it a process warning is emitted. */
  onTornLine?: (torn: TornLine) => void;
};

/** A row and the number of its line, counted from 1. */
export type JsonlRow = { row: unknown; line: number };

export type JsonlAppender = {
  /** Writes one row as one line. On return the line is with the operating system, and on the disk within a second or so. */
  append(row: unknown): void;
  /** Waits for the disk and closes the file. */
  close(): void;
};

const NEWLINE = 10;
const MAX_LINE_BYTES = 1 << 28; // beyond it the file is no JSONL file, and a string could not hold the line
const SYNC_INTERVAL_MS = 1000;

/**
 * Reads a JSON Lines file row by row; memory does not grow with the file. Blank lines are skipped; CRLF and a byte order
 * mark are tolerated; a last line without a newline counts where it is valid JSON and is reported and dropped otherwise.
 * @throws DataError naming file:line for a line that is not JSON or not UTF-8; naming the file where it cannot be read
 */
export async function* readJsonl(path: string, options: JsonlOptions = {}): AsyncGenerator<JsonlRow> {
  for await (const { bytes, line, isComplete } of readLines(path)) {
    const parsed = parseLine(bytes);
    if ('row' in parsed) yield { row: parsed.row, line };
    else if (parsed.problem === undefined) continue;
    else if (isComplete) throw new DataError(`${path}:${line}: ${parsed.problem} Each line must hold one JSON value.`);
    else reportTornLine({ path, line, sizeBytes: bytes.length }, options);
  }
}

/** How many rows `readJsonl` would give, without parsing any but a last line that lacks its newline. */
export async function countRows(path: string): Promise<number> {
  let numRows = 0;
  for await (const { bytes, isComplete } of readLines(path)) {
    if (isComplete ? !isBlank(bytes) : 'row' in parseLine(bytes)) numRows += 1;
  }
  return numRows;
}

/**
 * Opens a JSON Lines file for appending, creating it where it is missing. A torn last line, left by a crash, is reported
 * and cut off first, so that a row is never glued to it. The file must have one writer.
 * @throws DataError where the file cannot be opened; `append` throws it where the disk is full and takes back the part
 *   that was written, so that the file still ends with a whole row
 */
export async function openJsonlAppender(path: string, options: JsonlOptions = {}): Promise<JsonlAppender> {
  let file: number;
  try {
    file = openSync(path, 'a');
  } catch (error) {
    throw fileError(error, 'write', path);
  }
  let sizeBytes: number;
  try {
    sizeBytes = await repairTail(file, path, options);
  } catch (error) {
    closeSync(file);
    throw fileError(error, 'write', path);
  }
  let lastSyncMs = performance.now();

  function append(row: unknown): void {
    const text = JSON.stringify(row);
    invariant(text !== undefined, 'a row must be a JSON value');
    const bytes = Buffer.from(`${text}\n`);
    try {
      writeWhole(file, bytes, sizeBytes);
      sizeBytes += bytes.length;
      if (performance.now() - lastSyncMs < SYNC_INTERVAL_MS) return;
      fdatasyncSync(file);
      lastSyncMs = performance.now();
    } catch (error) {
      throw fileError(error, 'write', path);
    }
  }

  function close(): void {
    try {
      fdatasyncSync(file);
    } catch (error) {
      throw fileError(error, 'write', path);
    } finally {
      closeSync(file);
    }
  }

  return { append, close };
}

/** Writes all bytes at the end of a file of known size, or none: a full disk may take a part of them first. */
function writeWhole(file: number, bytes: Uint8Array, sizeBytes: number): void {
  try {
    let numWritten = 0;
    while (numWritten < bytes.length) numWritten += writeSync(file, bytes, numWritten);
  } catch (error) {
    ftruncateSync(file, sizeBytes);
    throw error;
  }
}

/** Makes the file end with a whole row and returns its size in bytes. */
async function repairTail(file: number, path: string, options: JsonlOptions): Promise<number> {
  let sizeBytes = 0;
  for await (const { bytes, line, isComplete } of readLines(path)) {
    if (isComplete) sizeBytes += bytes.length + 1;
    else if ('row' in parseLine(bytes)) {
      sizeBytes += bytes.length;
      writeWhole(file, Buffer.from('\n'), sizeBytes);
      sizeBytes += 1;
    } else {
      reportTornLine({ path, line, sizeBytes: bytes.length }, options);
      ftruncateSync(file, sizeBytes);
    }
  }
  return sizeBytes;
}

type Line = { bytes: Buffer; line: number; isComplete: boolean };

/** The lines of a file without their newlines. */
async function* readLines(path: string): AsyncGenerator<Line> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw fileError(error, 'read', path);
  });
  try {
    let line = 1;
    let parts: Buffer[] = []; // the current line so far
    let numBytes = 0;
    for (;;) {
      const chunk = Buffer.allocUnsafe(1 << 16);
      const { bytesRead } = await handle.read(chunk, 0, chunk.length, null);
      if (bytesRead === 0) break;
      let start = 0;
      for (;;) {
        const end = chunk.subarray(0, bytesRead).indexOf(NEWLINE, start);
        const part = chunk.subarray(start, end < 0 ? bytesRead : end);
        numBytes += part.length;
        if (numBytes > MAX_LINE_BYTES) {
          throw new DataError(
            `${path}:${line}: the line exceeds ${MAX_LINE_BYTES / 2 ** 20} MiB. Is this a JSON Lines file?`,
          );
        }
        if (end < 0) {
          if (part.length > 0) parts.push(part);
          break;
        }
        yield { bytes: parts.length === 0 ? part : Buffer.concat([...parts, part]), line, isComplete: true };
        line += 1;
        parts = [];
        numBytes = 0;
        start = end + 1;
      }
    }
    if (parts.length > 0) yield { bytes: Buffer.concat(parts), line, isComplete: false };
  } catch (error) {
    throw fileError(error, 'read', path);
  } finally {
    await handle.close();
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true }); // drops a byte order mark

/** The row of a line; or its problem, which is undefined for a blank line. */
function parseLine(bytes: Uint8Array): { row: unknown } | { problem: string | undefined } {
  if (isBlank(bytes)) return { problem: undefined };
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    return { problem: 'the line is not valid UTF-8.' };
  }
  try {
    return { row: JSON.parse(text) };
  } catch (error) {
    return { problem: `the line is not valid JSON (${messageOf(error)}).` };
  }
}

/** True where a line holds nothing but spaces, tabs, a carriage return or a byte order mark. */
function isBlank(bytes: Uint8Array): boolean {
  return bytes.every(
    (byte, index) => byte === 32 || byte === 9 || byte === 13 || (index < 3 && byte === BYTE_ORDER_MARK[index]),
  );
}

const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];

function reportTornLine(torn: TornLine, options: JsonlOptions): void {
  if (options.onTornLine) options.onTornLine(torn);
  else
    process.emitWarning(`${torn.path}:${torn.line}: dropped a last line that was cut off (${torn.sizeBytes} bytes).`);
}
