import { ModelLoadError } from '../support/errors.js';

/** A JSON object as it comes from a file. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Throws a ModelLoadError that names the place in the file, what was expected and what was found. */
export function refuse(where: string, expected: string, got: unknown): never {
  throw new ModelLoadError(
    `${where}: expected ${expected}, got ${describe(got)}. The tokenizer file is broken or of a kind this program does not read.`,
  );
}

/** The value as an object; arrays and null are refused. */
export function objectAt(value: unknown, where: string): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(where, 'an object', value);
  return value as JsonObject;
}

/** The value as an array; GGUF readers may give numbers as a typed array. */
export function arrayAt(value: unknown, where: string): readonly unknown[] {
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return Array.from(value as Float32Array);
  if (!Array.isArray(value)) refuse(where, 'an array', value);
  return value;
}

/** The value as a string. */
export function stringAt(value: unknown, where: string): string {
  if (typeof value !== 'string') refuse(where, 'a string', value);
  return value;
}

/** The value as a boolean, or the default where it is absent or null. */
export function booleanAt(value: unknown, where: string, absent: boolean): boolean {
  if (value === undefined || value === null) return absent;
  if (typeof value !== 'boolean') refuse(where, 'true or false', value);
  return value;
}

/** The value as a token id below `limit`. GGUF readers give big integers for some types. */
export function idAt(value: unknown, where: string, limit: number): number {
  const id = typeof value === 'bigint' ? Number(value) : value;
  if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= limit) {
    refuse(where, `a token id from 0 to ${limit - 1}`, value);
  }
  return id;
}

function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'object') return 'an object';
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
