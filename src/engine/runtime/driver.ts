/** What an implementation of the runtime supplies; order, ownership and checks are common to all (`createRuntime`). */
import type { BoundTensors } from './check-binding.js';
import type { Kernels } from './kernels-library.js';
import type { Allocate } from './memory.js';
import type { StartRun } from './run-queue.js';
import type { RuntimeKind, SessionOptions } from './types.js';

export interface Driver {
  readonly kind: RuntimeKind;
  /** Version of ONNX Runtime. */
  readonly version: string;
  readonly kernels: Kernels;
  readonly allocate: Allocate;
  /** Errors: BackendError with the runtime's words. */
  compile(bytes: Uint8Array, options: SessionOptions): NativeSession;
  /** Called once, when everything else is freed. */
  close(): void;
}

/** A compiled graph; `free` is called once, after its last run is freed. */
export interface NativeSession {
  /** Attaches tensors that were checked. */
  prepare(tensors: BoundTensors): NativeRun;
  free(): void;
}

/** A graph with its tensors. The memory of the tensors outlives pending runs; `free` is called once, after the last run. */
export interface NativeRun {
  /** Begins a run and reports later. */
  readonly start: StartRun;
  /** What native code reads and writes during a run: not to be collected before the run is over. */
  readonly keeps: unknown;
  /** Runs and blocks. Errors: BackendError. */
  runSync(): void;
  free(): void;
}
