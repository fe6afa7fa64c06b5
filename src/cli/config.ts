import type { z } from 'zod';
import { ConfigError } from '../support/errors.js';
import { didYouMean } from '../support/suggest.js';
import type { ConfigFile } from './config-file.js';
import { describeType, type OptionSpec, type Property } from './options.js';

/**
 * The frozen configuration of a command: flags over file over the schema's defaults.
 * @throws ConfigError with one line a problem: the flag, or file:line and key; what was expected and what was got
 */
export function buildConfig(
  schema: z.ZodObject,
  specs: readonly OptionSpec[],
  {
    flags,
    file,
    positional = [],
  }: {
    flags: Readonly<Record<string, unknown>>;
    file?: ConfigFile | undefined;
    /** Keys that are given without a flag. */
    positional?: readonly string[] | undefined;
  },
): Record<string, unknown> {
  const specOf = new Map(specs.map((spec) => [spec.key, spec]));
  const fromFlags = Object.fromEntries(
    Object.entries(flags).map(([key, value]) => [key, parseFlag(value, specOf.get(key)?.property)]),
  );
  const result = schema.safeParse({ ...file?.values, ...fromFlags });
  if (result.success) return deepFreeze(result.data);
  const problems = result.error.issues.flatMap((issue) => {
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => `${file?.placeOf(key)}: unknown key "${key}".${didYouMean(key, specOf.keys())}`);
    }
    const key = String(issue.path[0] ?? '');
    const spec = specOf.get(key);
    const value = key in flags ? flags[key] : file?.values[key];
    if (spec && value === undefined) {
      const name = positional.includes(key) ? `the argument <${spec.flag}>` : `--${spec.flag}`;
      return [`${name} is missing: ${spec.property.description}.`];
    }
    const place = key in flags || !file ? `--${spec?.flag ?? key}` : `${file.placeOf(key)}: ${key}`;
    if (!spec || issue.code === 'custom') return [spec ? `${place}: ${issue.message}` : issue.message];
    const suggestion = typeof value === 'string' && spec.property.enum ? didYouMean(value, spec.property.enum) : '';
    return [
      `${place}: expected ${describeType(spec.property)}; got ${typeof value === 'number' ? value : JSON.stringify(value)}.${suggestion}`,
    ];
  });
  throw new ConfigError([...new Set(problems)].join('\n'));
}

/** Numbers and lists of numbers come from the command line as text; text that is no number is left for the schema to refuse. */
function parseFlag(value: unknown, property: Omit<Property, 'description'> | undefined): unknown {
  if (Array.isArray(value)) return value.map((item) => parseFlag(item, property?.items));
  const isNumeric = property?.type === 'integer' || property?.type === 'number';
  if (typeof value !== 'string' || !isNumeric || value.trim() === '') return value;
  return Number.isNaN(Number(value)) ? value : Number(value);
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const item of Object.values(value)) deepFreeze(item);
  return Object.freeze(value);
}
