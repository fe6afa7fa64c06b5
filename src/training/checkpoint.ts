/**
 * Training checkpoints: `<folder>/checkpoints/step-000100/` with what is trained (`trained.safetensors`), the optimiser's moments
 * (`moments.safetensors`) and `state.json`, written last, with the sizes and hashes of both. A folder appears whole or not at all.
 */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Tensor } from '../engine/runtime/types.js';
import { openSafetensors } from '../model/files/safetensors.js';
import { writeSafetensors } from '../model/files/safetensors-write.js';
import { CheckpointError, messageOf } from '../support/errors.js';
import { readText, writeFileAtomic } from '../support/files.js';
import { writeFolderAtomic } from '../support/folders.js';

const FORMAT_VERSION = 1;
const STATE_FILE = 'state.json';
const TRAINED_FILE = 'trained.safetensors';
const MOMENTS_FILE = 'moments.safetensors';

/** What a run is; a checkpoint continues only the run it belongs to. */
export interface RunIdentity {
  /** Settings that decide the result, by key. */
  readonly config: Readonly<Record<string, unknown>>;
  /** SHA-256 of the rows. */
  readonly dataHash: string;
  /** Identifies architecture and starting weights. */
  readonly modelHash: string;
}

const stateSchema = z.object({
  formatVersion: z.literal(FORMAT_VERSION),
  step: z.int().min(0),
  /** The next batch. The order of rows is a function of the seed and the epoch: this is the random state too. */
  position: z.object({ seed: z.int(), epoch: z.int().min(0), batchIndex: z.int().min(0) }),
  /** Response tokens learnt from so far. */
  numTokens: z.int().min(0),
  run: z.object({ config: z.record(z.string(), z.unknown()), dataHash: z.string(), modelHash: z.string() }),
  files: z.record(z.string(), z.object({ sizeBytes: z.int(), sha256: z.string() })),
});

type StoredState = z.infer<typeof stateSchema>;
export type TrainingState = Omit<StoredState, 'formatVersion' | 'files'>;

/** Tensors by name, read and written in place. */
type Tensors = ReadonlyMap<string, Tensor<'float32'>>;

export interface StoredCheckpoint {
  readonly folder: string;
  readonly state: TrainingState;
}

/** The folder of a step's checkpoint. */
const checkpointFolder = (folder: string, step: number): string =>
  join(folder, 'checkpoints', `step-${String(step).padStart(6, '0')}`);

/**
 * Writes a checkpoint and removes all but the newest `keep`. Errors: DataError where the disk is full; the older checkpoints
 * are then untouched.
 */
export async function writeTrainingCheckpoint(
  folder: string,
  state: TrainingState,
  tensors: { trained: Tensors; moments: Tensors; keep: number },
): Promise<string> {
  const target = checkpointFolder(folder, state.step);
  await writeFolderAtomic(target, async (temporary) => {
    const files: StoredState['files'] = {};
    for (const [name, content] of [
      [TRAINED_FILE, tensors.trained],
      [MOMENTS_FILE, tensors.moments],
    ] as const) {
      const path = join(temporary, name);
      const list = [...content].map(([key, { shape, data }]) => ({ name: key, shape, values: data }));
      await writeSafetensors(path, list);
      files[name] = await fingerprint(path);
    }
    const stored: StoredState = { formatVersion: FORMAT_VERSION, ...state, files };
    await writeFileAtomic(join(temporary, STATE_FILE), `${JSON.stringify(stored, null, 2)}\n`);
  });
  const steps = await listSteps(folder);
  for (const { path } of steps.filter(({ step }) => step <= state.step).slice(tensors.keep))
    await rm(path, { recursive: true });
  return target;
}

/**
 * The newest whole checkpoint of a run, or undefined where there is none. Torn or corrupt ones are skipped and told to `notice`;
 * leftovers of interrupted writes are removed.
 * Errors: CheckpointError where it belongs to another run, naming what differs; or where there are checkpoints, but none is whole.
 */
export async function findCheckpoint(
  folder: string,
  run: RunIdentity,
  notice: (message: string) => void,
): Promise<StoredCheckpoint | undefined> {
  await removeLeftovers(join(folder, 'checkpoints'));
  const candidates = await listSteps(folder);
  for (const { path } of candidates) {
    const state = await readState(path).catch((error: unknown) => {
      notice(`${path} is damaged and was skipped: ${messageOf(error)}`);
      return undefined;
    });
    if (state === undefined) continue;
    const difference = describeDifference(state.run, run);
    if (difference !== undefined)
      throw new CheckpointError(
        `${path} belongs to another run: ${difference}. Continue with the same settings, rows and model, or name another output folder.`,
      );
    return { folder: path, state };
  }
  if (candidates.length > 0)
    throw new CheckpointError(
      `${join(folder, 'checkpoints')}: none of the ${candidates.length} checkpoints is whole. Remove the folder to start again.`,
    );
  return undefined;
}

/** Reads a checkpoint's tensors over the ones given. Errors: CheckpointError where they do not match. */
export function loadCheckpoint({ folder }: StoredCheckpoint, tensors: { trained: Tensors; moments: Tensors }): void {
  for (const [name, content] of [
    [TRAINED_FILE, tensors.trained],
    [MOMENTS_FILE, tensors.moments],
  ] as const) {
    const file = openSafetensors(join(folder, name));
    try {
      for (const [key, tensor] of content) {
        const shape = file.tensors.get(key)?.shape;
        if (shape?.join() !== tensor.shape.join())
          throw new CheckpointError(
            `${file.path}: tensor ${key} has shape [${shape?.join(', ') ?? 'missing'}]; the run needs [${tensor.shape.join(', ')}].`,
          );
        file.read(key, tensor.data);
      }
    } finally {
      file.dispose();
    }
  }
}

async function readState(folder: string): Promise<TrainingState> {
  const text = await readText(join(folder, STATE_FILE));
  const parsed = stateSchema.safeParse(JSON.parse(text));
  if (!parsed.success) throw new CheckpointError(`${STATE_FILE} is not a state of this version of azeotrope.`);
  const { formatVersion: _, files, ...state } = parsed.data;
  for (const name of [TRAINED_FILE, MOMENTS_FILE]) {
    const expected = files[name];
    const got = existsSync(join(folder, name)) ? await fingerprint(join(folder, name)) : undefined;
    if (got === undefined || got.sizeBytes !== expected?.sizeBytes)
      throw new CheckpointError(`${name} has ${got?.sizeBytes ?? 'no'} bytes, not ${expected?.sizeBytes}.`);
    if (got.sha256 !== expected.sha256)
      throw new CheckpointError(`${name} is not what was written (its hash differs).`);
  }
  return state;
}

async function fingerprint(path: string): Promise<{ sizeBytes: number; sha256: string }> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    hash.update(chunk);
    sizeBytes += chunk.length;
  }
  return { sizeBytes, sha256: hash.digest('hex') };
}

/** Checkpoint folders, newest first. */
async function listSteps(folder: string): Promise<{ path: string; step: number }[]> {
  const parent = join(folder, 'checkpoints');
  const names = existsSync(parent) ? await readdir(parent) : [];
  return names
    .flatMap((name) => {
      const step = /^step-(\d{6,})$/.exec(name)?.[1];
      return step === undefined ? [] : [{ path: join(parent, name), step: Number(step) }];
    })
    .sort((a, b) => b.step - a.step);
}

/** Temporary folders of writes that a crash cut off. */
async function removeLeftovers(parent: string): Promise<void> {
  if (!existsSync(parent) || !(await stat(parent)).isDirectory()) return;
  for (const name of await readdir(parent))
    if (/^\.step-\d+\.[0-9a-f]+\.tmp(\.old)?$/.test(name)) await rm(join(parent, name), { recursive: true });
}

function describeDifference(stored: RunIdentity, current: RunIdentity): string | undefined {
  const keys = [...new Set([...Object.keys(stored.config), ...Object.keys(current.config)])];
  const changed = keys
    .filter((key) => JSON.stringify(stored.config[key]) !== JSON.stringify(current.config[key]))
    .map((key) => `${key} was ${JSON.stringify(stored.config[key])}, is ${JSON.stringify(current.config[key])}`);
  if (stored.dataHash !== current.dataHash) changed.push('its rows were others');
  if (stored.modelHash !== current.modelHash) changed.push('it started from another model');
  return changed.length === 0 ? undefined : changed.join('; ');
}
