/** How many processes compute, with how many threads and how much memory each. */
import { resolveThreads } from '../engine/runtime/threads.js';
import type { RunConfig } from './config.js';

export interface Workers {
  readonly numWorkers: number;
  /** Of each. */
  readonly threads: number;
  /** Bytes of models that each keeps between stages. */
  readonly keptBytes: number;
}

/** Share of the free memory that is planned with. */
const USABLE_SHARE = 0.9;
/** Share of a worker's memory for models that wait for their next use. */
const KEPT_SHARE = 0.5;

/**
 * As the configuration says; where it is silent, one worker of one thread for each physical core, or as many as the memory holds
 * where each may need `peakBytes`, the cores divided among them.
 */
export function defaultWorkers(
  { workers, threads, memoryGiB }: Pick<RunConfig, 'workers' | 'threads' | 'memoryGiB'>,
  {
    freeBytes,
    peakBytes,
    numCores = resolveThreads(undefined),
  }: { freeBytes: number; peakBytes?: number | undefined; numCores?: number },
): Workers {
  const bytes = memoryGiB === undefined ? USABLE_SHARE * freeBytes : memoryGiB * 2 ** 30;
  const mostByMemory = peakBytes === undefined ? Number.POSITIVE_INFINITY : Math.floor(bytes / peakBytes);
  const numWorkers = workers ?? Math.max(1, Math.min(mostByMemory, Math.floor(numCores / (threads ?? 1))));
  const perWorker = bytes / numWorkers;
  return {
    numWorkers,
    threads: threads ?? Math.max(1, Math.floor(numCores / numWorkers)),
    keptBytes: KEPT_SHARE * perWorker,
  };
}
