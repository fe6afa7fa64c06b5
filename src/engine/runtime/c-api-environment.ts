/**
 * The process-wide state of ONNX Runtime: one thread pool and one arena of scratch memory that all sessions share. It lives from
 * the first runtime to the last; while it lives its number of threads is fixed.
 */
import { BackendError } from '../../support/errors.js';
import { type Handle, loadOrtLibrary, type OrtLibrary } from './c-api-library.js';

export interface Environment {
  readonly handle: Handle;
  /** Says "plain memory of this computer" where the API asks what a pointer points to. */
  readonly memoryInfo: Handle;
}

/** Fatal only: errors come back as statuses, and a second copy on the terminal would be noise. */
const LOG_SEVERITY = 4;
const ARENA_ALLOCATOR = 1;
const DEFAULT_MEMORY = 0;
const EXTEND_AS_REQUESTED = 1;

let current: (Environment & { readonly threads: number; users: number }) | undefined;

let isTaken = false;

/** Told by the stock binding that it has made the environment of this process: without shared threads, and for good. */
export function noteStockEnvironment(): void {
  isTaken = true;
}

/** BackendError if a live runtime of this process was opened with another number of threads. */
export function checkThreads(threads: number): void {
  if (current === undefined || current.threads === threads) return;
  throw new BackendError(
    `A runtime with ${current.threads} threads is open in this process, so another cannot have ${threads}: ` +
      'share one runtime, or dispose of the first before opening the second.',
  );
}

/** Joins the environment, or makes it. Every call needs one of `releaseEnvironment`. */
export function acquireEnvironment(threads: number): Environment {
  checkThreads(threads);
  if (current === undefined && isTaken) {
    throw new BackendError(
      'A stock runtime was opened in this process, and the environment it made has no threads for the C API to share: ' +
        'open the C API runtime first, or keep to one kind in a process.',
    );
  }
  current ??= { ...createEnvironment(loadOrtLibrary(), threads), threads, users: 0 };
  current.users += 1;
  return current;
}

/** Leaves the environment; the last user ends it, and its threads. All sessions must be released before. */
export function releaseEnvironment(): void {
  if (current === undefined) return;
  current.users -= 1;
  if (current.users > 0) return;
  const ort = loadOrtLibrary();
  ort.call('ReleaseEnv', current.handle);
  ort.call('ReleaseMemoryInfo', current.memoryInfo);
  current = undefined;
}

function createEnvironment(ort: OrtLibrary, threads: number): Environment {
  const options = ort.make('CreateThreadingOptions');
  ort.call('SetGlobalIntraOpNumThreads', options, threads);
  ort.call('SetGlobalInterOpNumThreads', options, 1);
  // Threads that spin for work cost more than they win where processors are shared: 16 against 6.5 ms of CPU a call.
  ort.call('SetGlobalSpinControl', options, 0);
  const handle = ort.make('CreateEnvWithGlobalThreadPools', LOG_SEVERITY, 'azeotrope', options);
  ort.call('ReleaseThreadingOptions', options);
  const memoryInfo = ort.make('CreateCpuMemoryInfo', ARENA_ALLOCATOR, DEFAULT_MEMORY);
  // Sessions run one at a time, so one arena serves all; it grows by what is asked instead of doubling.
  const arena = ort.make('CreateArenaCfg', 0, EXTEND_AS_REQUESTED, -1, -1);
  ort.call('CreateAndRegisterAllocator', handle, memoryInfo, arena);
  ort.call('ReleaseArenaCfg', arena);
  return { handle, memoryInfo };
}
