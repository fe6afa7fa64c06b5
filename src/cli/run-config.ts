/** The configuration file of a trade-off run. */
import { z } from 'zod';
import { type RunConfig, runSchema } from '../experiment/config.js';
import { ConfigError } from '../support/errors.js';
import { didYouMean } from '../support/suggest.js';
import { readConfigFile } from './config-file.js';
import { applySettings } from './set-option.js';

/** Reads and checks a configuration, with the values of `--set` in it. Errors: ConfigError with a line for each problem: file, line, key and what is wrong. */
export function readRunConfig(path: string, settings: readonly string[] = []): Promise<RunConfig> {
  return readStrictConfig(runSchema, path, settings);
}

/** The same of any schema. */
export async function readStrictConfig<Schema extends z.ZodType>(
  schema: Schema,
  path: string,
  settings: readonly string[],
): Promise<z.output<Schema>> {
  const { values, placeAt } = await readConfigFile(path);
  const result = schema.safeParse(applySettings(values, settings));
  if (result.success) return result.data;
  const problems = result.error.issues.flatMap((issue) => {
    if (issue.code === 'unrecognized_keys') {
      const where = issue.path.length === 0 ? '' : ` in ${keyOf(issue.path)}`;
      return issue.keys.map(
        (key) => `${placeAt([...issue.path, key])}: unknown key "${key}"${where}.${didYouMean(key, knownKeys(schema))}`,
      );
    }
    return [`${placeAt(issue.path)}: ${keyOf(issue.path)}: ${issue.message}.`];
  });
  throw new ConfigError([...new Set(problems)].join('\n'));
}

/** `arms[2].strength` */
function keyOf(path: readonly PropertyKey[]): string {
  if (path.length === 0) return 'the file';
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
}

/** Every key that a configuration may have, at whatever depth. */
function knownKeys(root: z.ZodType): string[] {
  const keys = new Set<string>();
  const visit = (schema: unknown): void => {
    if (Array.isArray(schema)) for (const item of schema) visit(item);
    else if (typeof schema === 'object' && schema !== null) {
      const { properties } = schema as { properties?: Record<string, unknown> };
      for (const key of Object.keys(properties ?? {})) keys.add(key);
      for (const value of Object.values(schema)) visit(value);
    }
  };
  visit(z.toJSONSchema(root, { io: 'input' }));
  return [...keys];
}
