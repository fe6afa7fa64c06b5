import { ModelLoadError } from '../../support/errors.js';
import type { ByteFile } from './byte-file.js';
import { decodeUtf8 } from './json-file.js';

/** Reads the values of a GGUF header in order; every length is checked against what is left of the file before it is used. */
export interface HeaderReader {
  /** Bytes consumed. */
  readonly position: number;
  uint32(): number;
  /** A 64-bit count or offset. Above 2^53 it can only be a lie: ModelLoadError. */
  size(what: string): number;
  text(what: string): string;
  /** A metadata value of the given GGUF type. */
  value(type: number, what: string): unknown;
  /** Refuses a claim of `count` items of at least `itemBytes` each where the file has not that much left. */
  expect(count: number, itemBytes: number, what: string): void;
  fail(problem: string): never;
}

/** Real files have one level of arrays. */
const DEEPEST_ARRAY = 4;
/** Elements of all arrays together; the largest published vocabularies have well below a million tokens and merges. */
const MOST_ELEMENTS = 2 ** 24;
const LONGEST_TEXT_BYTES = 2 ** 24;
const WINDOW_BYTES = 1 << 20;

const STRING = 8;
const ARRAY = 9;
/** Bytes that one value of a type takes at least (a string its length, an array its type and count). */
const LEAST_BYTES: readonly number[] = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8];

export function createHeaderReader(file: ByteFile): HeaderReader {
  let window = Buffer.alloc(0);
  let windowStart = 0; // byte of the file at which the window begins
  let cursor = 0; // within the window
  let numElements = 0;

  function fail(problem: string): never {
    throw new ModelLoadError(`${file.path}: ${problem}. The file is damaged or not GGUF; download it again.`);
  }
  function expect(count: number, itemBytes: number, what: string): void {
    const left = file.sizeBytes - windowStart - cursor;
    if (count * itemBytes > left)
      fail(`${what} claims ${count} items of at least ${itemBytes} bytes, but ${left} bytes are left in the file`);
  }
  /** Makes the next `length` bytes available in the window and returns where they begin. */
  function take(length: number, what: string): number {
    if (cursor + length > window.length) {
      if (windowStart + cursor + length > file.sizeBytes) fail(`ends within ${what}`);
      windowStart += cursor;
      window = Buffer.allocUnsafe(Math.min(Math.max(length, WINDOW_BYTES), file.sizeBytes - windowStart));
      file.readAt(windowStart, window);
      cursor = 0;
    }
    const start = cursor;
    cursor += length;
    return start;
  }
  function uint32(): number {
    const start = take(4, 'a 4-byte number');
    return window.readUInt32LE(start);
  }
  function size(what: string): number {
    const start = take(8, what);
    const value = window.readUInt32LE(start + 4) * 2 ** 32 + window.readUInt32LE(start);
    return Number.isSafeInteger(value) ? value : fail(`${what} claims ${value}`);
  }
  function text(what: string): string {
    const length = size(`the length of ${what}`);
    if (length > LONGEST_TEXT_BYTES) fail(`${what} claims ${length} bytes (limit ${LONGEST_TEXT_BYTES})`);
    const start = take(length, what);
    const result = window.toString('utf8', start, start + length);
    // Replacement characters are rare: only then ask whether the bytes were really UTF-8.
    return result.includes('\ufffd')
      ? decodeUtf8(window.subarray(start, start + length), `${file.path}: ${what}`)
      : result;
  }
  function array(depth: number, what: string): unknown[] {
    if (depth > DEEPEST_ARRAY) fail(`${what} nests arrays more than ${DEEPEST_ARRAY} deep`);
    const type = uint32();
    const count = size(`the length of ${what}`);
    const leastBytes = LEAST_BYTES[type] ?? fail(`${what} is an array of the unknown type ${type}`);
    expect(count, leastBytes, what);
    numElements += count;
    if (numElements > MOST_ELEMENTS) fail(`the metadata holds more than ${MOST_ELEMENTS} array elements`);
    const items: unknown[] = [];
    for (let index = 0; index < count; index++) items.push(valueAt(type, depth, what));
    return items;
  }
  function valueAt(type: number, depth: number, what: string): unknown {
    if (type === STRING) return text(what);
    if (type === ARRAY) return array(depth + 1, what);
    const start = take(LEAST_BYTES[type] ?? fail(`${what} has the unknown type ${type}`), what);
    return scalar(window, type, start);
  }

  return {
    get position() {
      return windowStart + cursor;
    },
    uint32,
    size,
    text,
    value: (type, what) => valueAt(type, 0, what),
    expect,
    fail,
  };
}

/** @see ggml/docs/gguf.md, `gguf_metadata_value_type` */
function scalar(bytes: Buffer, type: number, at: number): number | bigint | boolean {
  switch (type) {
    case 0:
      return bytes.readUInt8(at);
    case 1:
      return bytes.readInt8(at);
    case 2:
      return bytes.readUInt16LE(at);
    case 3:
      return bytes.readInt16LE(at);
    case 4:
      return bytes.readUInt32LE(at);
    case 5:
      return bytes.readInt32LE(at);
    case 6:
      return bytes.readFloatLE(at);
    case 7:
      return bytes.readUInt8(at) !== 0;
    case 10:
      return narrow(bytes.readBigUInt64LE(at));
    case 11:
      return narrow(bytes.readBigInt64LE(at));
    default:
      return bytes.readDoubleLE(at);
  }
}

/** 64-bit integers become numbers where a number holds them exactly. */
function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
