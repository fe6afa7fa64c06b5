/** The toy of black-box on-policy distillation, with its numbers as a file. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { runToy, type ToyResult, type ToySettings } from '../methods/gad/toy/run-toy.js';
import { fileError, writeFileAtomic } from '../support/files.js';

/** Runs the toy; with `output` it writes `toy.json` there. Errors: DataError where the folder cannot be written. */
export async function runToyJob(settings: ToySettings, output?: string): Promise<ToyResult> {
  const result = runToy(settings);
  if (output === undefined) return result;
  await mkdir(output, { recursive: true }).catch((error: unknown) => {
    throw fileError(error, 'write', output);
  });
  const record = { schemaVersion: 1, settings, ...result };
  await writeFileAtomic(join(output, 'toy.json'), `${JSON.stringify(record, null, 2)}\n`);
  return result;
}
