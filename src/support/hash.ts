import { createHash } from 'node:crypto';
import { invariant } from './errors.js';

/** SHA-256 of a string (as UTF-8) or bytes, as 64 hexadecimal digits. */
export function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

/** SHA-256 of a JSON value that does not depend on the order of its keys. */
export function sha256OfJson(value: unknown): string {
  return sha256(canonicalJson(value));
}

/**
 * JSON without white space, keys sorted by UTF-16 code units; properties that are undefined are left out, as JSON does.
 * Values that JSON would silently change (NaN, infinities, functions, undefined in an array, maps, dates) throw.
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return JSON.stringify(value);
  if (typeof value === 'number') {
    invariant(Number.isFinite(value), `JSON has no ${value}`);
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item)).join(',')}]`;
  const prototype = typeof value === 'object' ? Object.getPrototypeOf(value) : undefined;
  invariant(
    prototype === Object.prototype || prototype === null,
    `not a JSON value: ${Object.prototype.toString.call(value)}`,
  );
  const entries = Object.entries(value as object).filter(([, item]) => item !== undefined);
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(',')}}`;
}
