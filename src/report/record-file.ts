/** A record of a run on disk, checked. */
import { z } from 'zod';
import { DataError, messageOf } from '../support/errors.js';
import { readText } from '../support/files.js';

export const whole = z.int().min(0);

/** Right answers of so many questions. */
export const counted = z
  .object({ correct: whole, total: whole })
  .refine(({ correct, total }) => correct <= total, 'more right answers than questions');

/**
 * Reads a record; `command` makes it.
 * @throws DataError for a record of another schema version, and for a damaged one, naming the field
 */
export async function readRecord<Schema extends z.ZodType>(
  path: string,
  schema: Schema,
  { version, command }: { version: number; command: string },
): Promise<z.output<Schema>> {
  const again = `The file is damaged; make it again with ${command}.`;
  const record = parseJson(await readText(path), `${path} is not JSON`, again);
  const found = (record as { schemaVersion?: unknown } | null)?.schemaVersion;
  if (found !== version) {
    throw new DataError(
      `${path} has schema version ${JSON.stringify(found) ?? 'none'}; this program reads version ${version}. ` +
        'Use the program that made the run (its commit and version are in the record), or run it again.',
    );
  }
  const parsed = schema.safeParse(record);
  if (parsed.success) return parsed.data;
  const [{ path: place, message }] = parsed.error.issues;
  throw new DataError(`${path}: ${place.join('.') || 'the record'}: ${message}. ${again}`);
}

function parseJson(text: string, problem: string, again: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new DataError(`${problem} (${messageOf(error)}). ${again}`);
  }
}
