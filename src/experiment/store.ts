/** The stages of a run folder: each a folder of its own, written aside and moved to its place when it is whole. */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { PrecisionChoice } from '../engine/compiler.js';
import { DataError } from '../support/errors.js';
import { fileError, writeFileAtomic } from '../support/files.js';
import type { AnyStage, ModelRef, StageKind, StageResults } from './stage.js';

export interface StageRecord<K extends StageKind = StageKind> {
  readonly id: string;
  readonly kind: K;
  readonly label: string;
  readonly inputs: unknown;
  readonly models: Readonly<Record<string, ModelRef>>;
  readonly needs: Readonly<Record<string, string>>;
  readonly precision: PrecisionChoice;
  readonly result: StageResults[K];
  /** Of the process that finished it; what an earlier one did before a crash is not counted. */
  readonly wallMs: number;
  /** Part of wallMs that was spent waiting for the engine. */
  readonly engineMs: number;
  readonly finishedAt: string;
}

const STAGES = 'stages';
const RECORD = 'record.json';

export const stageFolder = (run: string, id: string): string => join(run, STAGES, id);
const unfinishedFolder = (run: string, id: string): string => join(run, STAGES, `.${id}`);

/** The record of a stage that is done. Errors: DataError where it cannot be read. */
export function readRecord<K extends StageKind = StageKind>(run: string, id: string): StageRecord<K> | undefined {
  const path = join(stageFolder(run, id), RECORD);
  if (!existsSync(path)) return undefined;
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as StageRecord<K>;
  } catch (error) {
    const read = fileError(error, 'read', path);
    if (read instanceof DataError) throw read;
    throw new DataError(`${path} is damaged. Remove the folder it is in, and run the command again.`);
  }
}

interface UnfinishedStage {
  /** What a crash leaves of it is found again. */
  readonly folder: string;
  /** For what is no part of the result; removed at the end. */
  readonly scratch: string;
  /** Writes the record last and moves the folder to its place. */
  finish(record: Omit<StageRecord, 'finishedAt'>): Promise<void>;
}

export async function beginStage(run: string, { id }: Pick<AnyStage, 'id'>): Promise<UnfinishedStage> {
  const folder = unfinishedFolder(run, id);
  const scratch = join(folder, 'scratch');
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw fileError(error, 'write', folder);
  }
  return {
    folder,
    scratch,
    async finish(record) {
      const target = stageFolder(run, id);
      try {
        await rm(scratch, { recursive: true, force: true });
        const whole: StageRecord = { ...record, finishedAt: new Date().toISOString() };
        await writeFileAtomic(join(folder, RECORD), `${JSON.stringify(whole, null, 2)}\n`);
        await rm(target, { recursive: true, force: true }); // a folder without a record is no stage
        await rename(folder, target);
        await syncFolder(join(run, STAGES));
      } catch (error) {
        throw fileError(error, 'write', target);
      }
    },
  };
}

async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
