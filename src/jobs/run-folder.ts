/** The folder of a training run: checkpoints while it lasts, the model and a record of the run at the end. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { access, constants, mkdir, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigError } from '../support/errors.js';
import { fileError, readText, writeFileAtomic } from '../support/files.js';

const RECORD = 'training.json';
const CHECKPOINTS = 'checkpoints';
const BEFORE = 'validation-before.json';
const FINISHED = '.finished';
/** What makes a folder a model, or an adapter. */
const LAST_FILES = ['config.json', 'adapter_config.json'];

/** Makes the folder and checks that it can be written, before any work. What is given back removes it again if it is empty. */
export async function makeRunFolder(output: string): Promise<() => Promise<void>> {
  try {
    const made = await mkdir(output, { recursive: true });
    await access(output, constants.W_OK);
    return async () => {
      if (made !== undefined && readdirSync(output).length === 0) await rmdir(output);
    };
  } catch (error) {
    throw fileError(error, 'write', output);
  }
}

/** Where the finished model is written, before `finishRun` moves it to its place. */
export const finishedFolder = (output: string): string => join(output, FINISHED);

/** Moves the finished model to its place, writes the record of the run and removes its checkpoints. */
export async function finishRun(output: string, record: Readonly<Record<string, unknown>>): Promise<void> {
  await moveFiles(finishedFolder(output), output);
  await writeFileAtomic(join(output, RECORD), `${JSON.stringify({ schemaVersion: 1, ...record }, null, 2)}\n`);
  for (const name of [CHECKPOINTS, BEFORE, FINISHED]) await rm(join(output, name), { recursive: true, force: true });
}

/**
 * Moves what is in a folder to another on the same disk, over what is there. Stopped in the middle, it can be done again: the
 * checkpoints are still there, and what makes the folder a model comes last.
 */
async function moveFiles(from: string, to: string): Promise<void> {
  const names = readdirSync(from).sort((a, b) => Number(LAST_FILES.includes(a)) - Number(LAST_FILES.includes(b)));
  try {
    for (const name of names) await rename(join(from, name), join(to, name));
  } catch (error) {
    throw fileError(error, 'write', to);
  }
}

/** The result of a run that this folder holds whole. A folder that holds anything but such a run, or a part of it, is refused. */
export async function finishedRun<Result>(output: string, identity: string): Promise<Result | undefined> {
  if (!existsSync(output)) return undefined;
  if (!statSync(output).isDirectory())
    throw new ConfigError(`${output} is a file. Name a folder for the trained model.`);
  const record = join(output, RECORD);
  if (existsSync(record)) {
    const stored = parseRecord<Result>(await readText(record), record);
    if (stored.identity === identity) return stored.result;
    throw new ConfigError(
      `${output}: this folder holds a model trained with other settings or rows. Name another output.`,
    );
  }
  const names = readdirSync(output).filter((name) => !name.startsWith('.'));
  // With checkpoints, the other files are those of a model that was being moved to its place.
  const hasCheckpoints =
    names.includes(CHECKPOINTS) && readdirSync(join(output, CHECKPOINTS)).some((name) => name.startsWith('step-'));
  const others = names.filter((name) => ![CHECKPOINTS, BEFORE].includes(name));
  if (others.length > 0 && !hasCheckpoints) {
    throw new ConfigError(
      `${output}: the folder holds other things (${others.slice(0, 3).join(', ')}). Name another output.`,
    );
  }
  return undefined;
}

function parseRecord<Result>(text: string, path: string): { identity: string; result: Result } {
  try {
    return JSON.parse(text) as { identity: string; result: Result };
  } catch {
    throw new ConfigError(`${path}: not the record of a training run. Name another output, or remove the folder.`);
  }
}

/** A number that is measured before the first step and kept for when the run is continued. */
export async function measureOnce(
  output: string,
  identity: string,
  measure: () => Promise<number | undefined>,
): Promise<number | undefined> {
  const path = join(output, BEFORE);
  if (existsSync(path)) {
    const stored = JSON.parse(await readText(path)) as { identity: string; lossNats: number };
    if (stored.identity === identity) return stored.lossNats;
  }
  const lossNats = await measure();
  if (lossNats !== undefined) await writeFileAtomic(path, JSON.stringify({ identity, lossNats }));
  return lossNats;
}
