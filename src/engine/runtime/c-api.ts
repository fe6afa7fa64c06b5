/** The driver over ONNX Runtime's C API: no copies of outputs, and runs that leave the event loop free. */
import { BackendError } from '../../support/errors.js';
import { acquireEnvironment, releaseEnvironment } from './c-api-environment.js';
import { loadOrtLibrary } from './c-api-library.js';
import { compile } from './c-api-session.js';
import type { Driver } from './driver.js';
import { loadKernels } from './kernels-library.js';
import { mappedAllocator } from './mapped-memory.js';
import { createRuntime } from './runtime.js';
import type { CompiledModel, Runtime } from './types.js';

let isTested = false;

/**
 * Opens the runtime. Errors: BackendError when the library is missing, of another version, fails a trial run, or runs in this
 * process with another number of threads.
 */
export function createCApiRuntime(threads: number): Runtime {
  const runtime = createRuntime(createDriver(threads), threads, undefined);
  if (isTested) return runtime;
  try {
    testRun(runtime);
  } catch (error) {
    runtime.dispose();
    throw error;
  }
  isTested = true;
  return runtime;
}

function createDriver(threads: number): Driver {
  const ort = loadOrtLibrary();
  const kernels = loadKernels();
  const environment = acquireEnvironment(threads);
  const context = { ort, environment, kernelsPath: kernels.path };
  return {
    kind: 'c-api',
    version: ort.version,
    kernels,
    allocate: mappedAllocator(ort.koffi),
    compile: (bytes, options) => compile(context, bytes, options),
    close: () => {
      releaseEnvironment();
      kernels.trim();
    },
  };
}

/** y = x + x for one number, as ONNX: a table entry at a wrong index would not survive it. */
const DOUBLING: CompiledModel = {
  bytes: Buffer.from(
    'CAk6OAoOCgF4CgF4EgF5IgNBZGQSBHRlc3RaDwoBeBIKCggIARIECgIIAWIPCgF5EgoKCAgBEgQKAggBQgQKABAV',
    'base64',
  ),
  inputs: { x: { dtype: 'float32', shape: [1] } },
  outputs: { y: { dtype: 'float32', shape: [1], inPlaceOf: undefined } },
};

function testRun(runtime: Runtime): void {
  const x = runtime.tensor('float32', [1], [21]);
  const y = runtime.tensor('float32', [1]);
  const session = runtime.session(DOUBLING);
  const binding = session.bind({ x }, { y });
  binding.runSync();
  if (y.data[0] !== 42) throw new BackendError(`ONNX Runtime ${runtime.version} added wrongly in its trial run.`);
  for (const resource of [binding, session, x, y]) resource.dispose();
}
