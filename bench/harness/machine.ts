/** Where and on what a result was measured. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const PACKAGES = ['onnxruntime-node', 'koffi'];
/** What float32 products run on, where the system tells. */
const VECTOR_FLAGS = ['avx2', 'avx512f', 'avx512_bf16', 'amx_tile', 'asimd', 'sve'];

export interface MachineRecord {
  readonly cpu: string;
  readonly vectorExtensions: readonly string[];
  readonly numCores: number;
  readonly memoryBytes: number;
  readonly platform: string;
  readonly node: string;
  readonly packages: Readonly<Record<string, string>>;
}

export interface CommitRecord {
  readonly commit: string;
  /** Files of the checkout differ from the commit. */
  readonly isDirty: boolean;
}

export function describeMachine(): MachineRecord {
  const info = existsSync('/proc/cpuinfo') ? readFileSync('/proc/cpuinfo', 'utf8') : '';
  const flags = new Set(/^(?:flags|Features)\s*:\s*(.*)$/m.exec(info)?.[1].split(' ') ?? []);
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    vectorExtensions: VECTOR_FLAGS.filter((flag) => flags.has(flag)),
    numCores: availableParallelism(),
    memoryBytes: totalmem(),
    platform: `${process.platform}-${process.arch}`,
    node: process.version,
    packages: Object.fromEntries(PACKAGES.map((name) => [name, versionOf(name)])),
  };
}

function versionOf(name: string): string {
  const path = join(ROOT, 'node_modules', name, 'package.json');
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version : 'absent';
}

export function describeCommit(): CommitRecord {
  const git = (...args: string[]) => spawnSync('git', args, { cwd: ROOT, encoding: 'utf8' }).stdout?.trim() ?? '';
  const changed = git('status', '--porcelain', '--', '.', ':!bench/results');
  return { commit: git('rev-parse', 'HEAD') || 'unknown', isDirty: changed !== '' };
}

/** Processes that wanted to run, averaged over the last minute. */
export const loadNow = (): number => loadavg()[0];
