import { ModelLoadError } from '../support/errors.js';
import type { TransformerConfig } from './config.js';
import { shorten } from './families.js';

/** Reads the fields of a foreign configuration; every complaint names the file, the key, the value and what was expected. */
export interface Fields {
  readonly where: string;
  /** The value; null counts as absent. */
  get(key: string): unknown;
  has(key: string): boolean;
  /** A whole number from 1 to `max`. Without `fallback` the key must be there. */
  count(key: string, max: number, fallback?: number): number;
  /** A finite number above zero. Without `fallback` the key must be there. */
  positive(key: string, fallback?: number): number;
  flag(key: string, fallback: boolean): boolean;
  fail(key: string, problem: string): never;
}

/** Largest sizes taken seriously: several times the largest published model of these families. */
export const LARGEST = {
  vocabSize: 2 ** 24,
  width: 2 ** 20,
  numLayers: 4096,
  numHeads: 4096,
  headSize: 4096,
  maxPositions: 2 ** 31,
} as const;

/** @throws ModelLoadError where `record` is not an object of keys */
export function fieldsOf(record: unknown, where: string): Fields {
  if (typeof record !== 'object' || record === null || Array.isArray(record))
    throw new ModelLoadError(`${where}: expected an object of keys, got ${shorten(record)}.`);
  const values = record as Record<string, unknown>;

  function get(key: string): unknown {
    const value = Object.hasOwn(values, key) ? values[key] : undefined;
    return value === null ? undefined : value;
  }
  function fail(key: string, problem: string): never {
    throw new ModelLoadError(`${where}: ${key} ${problem}`);
  }
  function required(key: string, fallback: number | undefined): number {
    return fallback ?? fail(key, 'is missing. The file is not a complete model configuration.');
  }

  return {
    where,
    get,
    has: (key) => Object.hasOwn(values, key),
    fail,
    count(key, max, fallback) {
      const value = get(key);
      if (value === undefined) return required(key, fallback);
      if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 1 && value <= max) return value;
      return fail(key, `must be a whole number from 1 to ${max}, got ${shorten(value)}.`);
    },
    positive(key, fallback) {
      const value = get(key);
      if (value === undefined) return required(key, fallback);
      if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
      return fail(key, `must be a number above 0, got ${shorten(value)}.`);
    },
    flag(key, fallback) {
      const value = get(key);
      if (value === undefined) return fallback;
      return typeof value === 'boolean' ? value : fail(key, `must be true or false, got ${shorten(value)}.`);
    },
  };
}

/** One id or a list of them, as configurations give end-of-sequence ids; ids that no row of the embedding has are dropped. */
export function tokenIds(fields: Fields, key: string, vocabSize: number): number[] {
  const value = fields.get(key) ?? [];
  const ids: unknown[] = Array.isArray(value) ? value : [value];
  for (const id of ids)
    if (!Number.isSafeInteger(id)) fields.fail(key, `must be a token id or a list of ids, got ${shorten(value)}.`);
  return [...new Set(ids as number[])].filter((id) => id >= 0 && id < vocabSize);
}

/**
 * What must hold between the sizes.
 * @throws ModelLoadError
 */
export function checkConfig(config: TransformerConfig, where: string): TransformerConfig {
  const { numHeads, numKvHeads, headSize } = config;
  if (numHeads % numKvHeads !== 0)
    throw new ModelLoadError(
      `${where}: ${numHeads} query heads cannot share ${numKvHeads} key/value heads: the first must be a multiple of the second.`,
    );
  if (headSize % 2 !== 0)
    throw new ModelLoadError(
      `${where}: a head of ${headSize} values cannot be rotated: the rotary embedding needs an even head size.`,
    );
  if (numHeads * headSize > LARGEST.width)
    throw new ModelLoadError(`${where}: ${numHeads} heads of ${headSize} are wider than ${LARGEST.width}.`);
  return config;
}
