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

/** Share of a worker's memory for models that wait for their next use. */
const KEPT_SHARE = 0.5;

/** As the configuration says; where it is silent, one worker of one thread for each physical core. */
export function defaultWorkers(
  { workers, threads, memoryGiB }: Pick<RunConfig, 'workers' | 'threads' | 'memoryGiB'>,
  { freeBytes, numCores = resolveThreads(undefined) }: { freeBytes: number; numCores?: number },
): Workers {
  const numWorkers = workers ?? Math.max(1, Math.floor(numCores / (threads ?? 1)));
  const perWorker = (memoryGiB === undefined ? freeBytes : memoryGiB * 2 ** 30) / numWorkers;
  return {
    numWorkers,
    threads: threads ?? Math.max(1, Math.floor(numCores / numWorkers)),
    keptBytes: KEPT_SHARE * perWorker,
  };
}
