/**
 * The driver over onnxruntime-node's own addon: the portable fallback. A run happens on a later turn of the event loop and blocks
 * it; each session has threads of its own.
 *
 * The addon is used below the package's public API because that can neither compile nor run synchronously.
 */
import { createRequire } from 'node:module';
import type * as OrtPackage from 'onnxruntime-node';
import type * as OrtAddon from 'onnxruntime-node/dist/binding.js';
import { BackendError, messageOf } from '../../support/errors.js';
import { noteStockEnvironment } from './c-api-environment.js';
import type { NamedTensor } from './check-binding.js';
import type { NativeSession } from './driver.js';
import { NO_KERNELS } from './kernels-library.js';
import { allocateArrayBuffer } from './memory.js';
import type { StartRun } from './run-queue.js';
import { createRuntime } from './runtime.js';
import { disableTelemetry } from './telemetry.js';
import type { GraphOptimization, Runtime, SessionOptions } from './types.js';

interface StockLibrary {
  readonly addon: typeof OrtAddon.binding;
  readonly Tensor: typeof OrtPackage.Tensor;
  readonly version: string;
}

type AddonSession = InstanceType<StockLibrary['addon']['InferenceSession']>;
type AddonTensors = Parameters<AddonSession['run']>[0];

const OPTIMIZATION_LEVELS = {
  none: 'disabled',
  basic: 'basic',
  extended: 'extended',
  all: 'all',
} as const satisfies Record<GraphOptimization, string>;

/** Opens the runtime. Errors: BackendError when onnxruntime-node is missing or does not load. */
export function createStockRuntime(threads: number, fallbackReason?: string): Runtime {
  const library = loadStockLibrary();
  const driver = {
    kind: 'stock',
    version: library.version,
    kernels: NO_KERNELS,
    allocate: (sizeBytes: number) => allocateArrayBuffer(sizeBytes),
    compile: (bytes: Uint8Array, options: SessionOptions) => compile(library, bytes, { ...options, threads }),
    close: () => {},
  } as const;
  return createRuntime(driver, threads, fallbackReason);
}

function loadStockLibrary(): StockLibrary {
  disableTelemetry();
  const require = createRequire(import.meta.url);
  try {
    const { Tensor, env } = require('onnxruntime-node') as typeof OrtPackage;
    // Errors are thrown, and a second copy on the terminal would be noise.
    env.logLevel = 'fatal';
    const { binding: addon, initOrt } = require('onnxruntime-node/dist/binding.js') as typeof OrtAddon;
    initOrt();
    noteStockEnvironment();
    const { version } = require('onnxruntime-node/package.json') as { version: string };
    return { addon, Tensor, version };
  } catch (error) {
    throw new BackendError(
      `onnxruntime-node does not load here: ${messageOf(error)}. Install it again for this platform.`,
    );
  }
}

function compile(
  library: StockLibrary,
  bytes: Uint8Array,
  { optimization = 'all', threads }: SessionOptions & { readonly threads: number },
): NativeSession {
  const session = new library.addon.InferenceSession();
  try {
    session.loadModel(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength, {
      executionProviders: ['cpu'],
      executionMode: 'sequential',
      graphOptimizationLevel: OPTIMIZATION_LEVELS[optimization],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      logSeverityLevel: 4,
      extra: { session: { intra_op: { allow_spinning: '0' } } },
    });
  } catch (error) {
    throw new BackendError(`ONNX Runtime refused a graph: ${messageOf(error)}`);
  }
  return {
    prepare(tensors) {
      const feeds = wrapTensors(library, tensors.inputs);
      const fetches = wrapTensors(library, tensors.outputs);
      const runSync = (): void => run(session, feeds, fetches);
      const start: StartRun = (done) => void setImmediate(() => done(errorFrom(runSync)));
      return { start, runSync, keeps: undefined, free: () => {} };
    },
    free: () => session.dispose(),
  };
}

/** The tensors as the addon takes them: over the same memory. */
function wrapTensors({ Tensor }: StockLibrary, tensors: readonly NamedTensor[]): AddonTensors {
  return Object.fromEntries(
    tensors.map(({ name, tensor }) => [
      name,
      new Tensor(tensor.dtype as 'float32', tensor.memory as never, [...tensor.shape]),
    ]),
  );
}

/** The addon writes outputs straight into the tensors given for them, where the package's public API would copy. */
function run(session: AddonSession, feeds: AddonTensors, fetches: AddonTensors): void {
  try {
    session.run(feeds, fetches, {});
  } catch (error) {
    throw new BackendError(`ONNX Runtime refused to run: ${messageOf(error)}`);
  }
}

function errorFrom(action: () => void): Error | undefined {
  try {
    action();
  } catch (error) {
    return error as Error;
  }
  return undefined;
}
