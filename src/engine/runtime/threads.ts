/** How many threads to compute with. */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { ConfigError } from '../../support/errors.js';

/** Beyond this a number of threads is a slip of the hand. */
const MAX_THREADS = 1024;

/** Reads a file of the system; undefined where there is none. */
type ReadSystemFile = (path: string) => string | undefined;

/** The number asked for, or the default. ConfigError if it is no whole number from 1 to 1024. */
export function resolveThreads(asked: number | undefined): number {
  if (asked === undefined) return defaultThreads(availableParallelism(), readSystemFile);
  if (!Number.isInteger(asked) || asked < 1 || asked > MAX_THREADS) {
    throw new ConfigError(
      `threads is ${asked}, expected a whole number from 1 to ${MAX_THREADS}; ` +
        'leave it out to use every physical core this process may use.',
    );
  }
  return asked;
}

/**
 * Physical cores this process may use: of `numLogical` processors allowed, siblings of one core count once (matrix products
 * gain nothing from a second thread on a core), and a processor quota of the container bounds the result (rounded down, for
 * threads that wait for each other lose more than a fraction of a core). At least 1. Systems other than Linux: `numLogical`.
 */
export function defaultThreads(numLogical: number, read: ReadSystemFile): number {
  const numCores = countCores(read) ?? numLogical;
  return Math.max(1, Math.floor(Math.min(numLogical, numCores, quotaOf(read))));
}

/** Expands `0-2,8` to [0, 1, 2, 8]. */
export function parseCpuList(text: string): number[] {
  return text
    .trim()
    .split(',')
    .filter((range) => range !== '')
    .flatMap((range) => {
      const [first, last = first] = range.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
}

function countCores(read: ReadSystemFile): number | undefined {
  const allowed = /^Cpus_allowed_list:\s*(\S+)/m.exec(read('/proc/self/status') ?? '')?.[1];
  if (allowed === undefined) return undefined;
  const cores = new Set(
    parseCpuList(allowed).map(
      (cpu) => read(`/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`)?.trim() ?? `${cpu}`,
    ),
  );
  return cores.size;
}

/** Processors that the control group (version 2, then 1) grants; infinite without a limit. */
function quotaOf(read: ReadSystemFile): number {
  const group = /^0::(\/.*)$/m.exec(read('/proc/self/cgroup') ?? '')?.[1] ?? '/';
  const ofGroup = read(`/sys/fs/cgroup${group === '/' ? '' : group}/cpu.max`) ?? read('/sys/fs/cgroup/cpu.max');
  if (ofGroup !== undefined) {
    const [quota, period] = ofGroup.trim().split(/\s+/);
    return quota === 'max' ? Number.POSITIVE_INFINITY : Number(quota) / Number(period);
  }
  const quota = Number(read('/sys/fs/cgroup/cpu/cpu.cfs_quota_us') ?? -1);
  const period = Number(read('/sys/fs/cgroup/cpu/cpu.cfs_period_us') ?? 100_000);
  return quota > 0 ? quota / period : Number.POSITIVE_INFINITY;
}

function readSystemFile(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Absent on other systems, and unreadable in some containers: the caller has another source.
    return undefined;
  }
}
