/** `run.json`: what a run folder is a run of. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { arch, availableParallelism, cpus, platform, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ConfigError, DataError, messageOf } from '../support/errors.js';
import { fileError, readText, writeFileAtomic } from '../support/files.js';
import { packageVersion } from '../support/package-version.js';
import { RUN_SCHEMA_VERSION, type RunConfig } from './config.js';
import type { Details } from './records.js';

export interface RunFile {
  readonly schemaVersion: number;
  readonly name: string;
  readonly isQuick: boolean;
  /** The command without its output folder. */
  readonly command: string;
  /** Of this package's source; null where it is installed without. */
  readonly commit: string | null;
  readonly versions: Readonly<Record<string, string>>;
  readonly machine: Details['machine'];
  readonly startedAt: string;
  /** Worked on so far, by all calls; what a crash cut off is counted up to the last stage that was finished. */
  readonly wallMs: number;
  /** As it was understood, with every default. */
  readonly config: RunConfig;
}

const FILE = 'run.json';

/** What a folder says it is; undefined where it is empty or not there. Errors: ConfigError for a folder of anything else. */
export async function readRunFile(folder: string): Promise<RunFile | undefined> {
  const path = join(folder, FILE);
  if (!existsSync(path)) return undefined;
  let run: Partial<RunFile>;
  try {
    run = JSON.parse(await readText(path)) as Partial<RunFile>;
  } catch (error) {
    if (error instanceof DataError) throw error;
    throw new ConfigError(`${path} is damaged (${messageOf(error)}). Name another folder, or remove this one.`);
  }
  if (run.schemaVersion === RUN_SCHEMA_VERSION) return run as RunFile;
  throw new ConfigError(
    `${folder} holds a run of schema version ${run.schemaVersion}; this program (${packageVersion()}) writes version ${RUN_SCHEMA_VERSION}. ` +
      'Nothing in it was touched. Name another folder (--output), or use the program that made it.',
  );
}

export async function writeRunFile(folder: string, run: RunFile): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw fileError(error, 'write', folder);
  }
  await writeFileAtomic(join(folder, FILE), `${JSON.stringify(run, null, 2)}\n`);
}

export function describeMachine(threads: number): Details['machine'] {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Number((totalmem() / 2 ** 30).toFixed(1)),
    threads,
  };
}

export const ownVersions = (): Record<string, string> => ({
  azeotrope: packageVersion(),
  node: process.versions.node,
  platform: `${platform()} ${arch()}`,
});

/** Commit of the source this program runs from; null where it is no checkout of its own. */
export async function sourceCommit(): Promise<string | null> {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const git = async (...args: string[]) => (await promisify(execFile)('git', args, { cwd: root })).stdout.trim();
  try {
    // Installed inside somebody's checkout, git would tell theirs.
    return resolve(await git('rev-parse', '--show-toplevel')) === resolve(root) ? await git('rev-parse', 'HEAD') : null;
  } catch {
    return null; // no git, or no checkout
  }
}
