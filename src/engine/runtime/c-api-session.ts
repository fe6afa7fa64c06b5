/** Compiled graphs and their arguments over ONNX Runtime's C API. */
import type { Environment } from './c-api-environment.js';
import type { Handle, OrtLibrary } from './c-api-library.js';
import type { BoundTensors, NamedTensor } from './check-binding.js';
import type { NativeRun, NativeSession } from './driver.js';
import { ELEMENT_TYPES } from './element-types.js';
import type { HostTensor } from './tensor-store.js';
import type { GraphOptimization, SessionOptions } from './types.js';

interface Context {
  readonly ort: OrtLibrary;
  readonly environment: Environment;
  /** Library of native kernels. */
  readonly kernelsPath: string | undefined;
}

const OPTIMIZATION_LEVELS: Readonly<Record<GraphOptimization, number>> = { none: 0, basic: 1, extended: 2, all: 99 };
const SEQUENTIAL = 0;

/** Compiles. Errors: BackendError with the runtime's words. */
export function compile(
  context: Context,
  bytes: Uint8Array,
  { optimization = 'all', plannedMemory = false }: SessionOptions,
): NativeSession {
  const { ort, environment, kernelsPath } = context;
  const options = ort.make('CreateSessionOptions');
  try {
    ort.call('DisablePerSessionThreads', options);
    if (!plannedMemory) ort.call('DisableMemPattern', options);
    ort.call('SetSessionExecutionMode', options, SEQUENTIAL);
    ort.call('SetSessionGraphOptimizationLevel', options, OPTIMIZATION_LEVELS[optimization]);
    ort.call('AddSessionConfigEntry', options, 'session.use_env_allocators', '1');
    // Constants last as long as the session and would leave holes in the shared arena.
    ort.call('AddSessionConfigEntry', options, 'session.use_device_allocator_for_initializers', '1');
    if (kernelsPath !== undefined) ort.call('RegisterCustomOpsLibrary_V2', options, kernelsPath);
    const session = ort.make(
      'CreateSessionFromArray',
      environment.handle,
      addressOf(ort, bytes),
      bytes.length,
      options,
    );
    return {
      prepare: (tensors) => prepare(context, session, tensors),
      free: () => ort.call('ReleaseSession', session),
    };
  } finally {
    ort.call('ReleaseSessionOptions', options);
  }
}

/** Lays out the arguments once, so that a run is one call with nothing to convert. */
function prepare(context: Context, session: Handle, tensors: BoundTensors): NativeRun {
  const { ort } = context;
  const values = new Map<HostTensor, Handle>();
  const freeValues = (): void => {
    for (const value of values.values()) ort.call('ReleaseValue', value);
  };
  try {
    const inputs = createArguments(context, tensors.inputs, values);
    const outputs = createArguments(context, tensors.outputs, values);
    const args = [
      session,
      null,
      addressOf(ort, inputs.names),
      addressOf(ort, inputs.values),
      tensors.inputs.length,
      addressOf(ort, outputs.names),
      tensors.outputs.length,
      addressOf(ort, outputs.values),
    ] as const;
    return {
      keeps: [inputs, outputs],
      start: (done) => ort.callAsync('Run', args, done),
      runSync: () => ort.call('Run', ...args),
      free: freeValues,
    };
  } catch (error) {
    freeValues();
    throw error;
  }
}

/** Arrays of pointers as Run takes them, with what they point to. */
interface Arguments {
  readonly names: BigUint64Array;
  readonly values: BigUint64Array;
  readonly strings: readonly Uint8Array[];
  readonly arrays: readonly ArrayBufferView[];
}

function createArguments(
  context: Context,
  tensors: readonly NamedTensor[],
  values: Map<HostTensor, Handle>,
): Arguments {
  const strings = tensors.map(({ name }) => Uint8Array.from(Buffer.from(`${name}\0`)));
  const extents = tensors.map(({ tensor }) => BigInt64Array.from(tensor.shape, BigInt));
  const handles = tensors.map(({ tensor }, i) => {
    // One value where a tensor is bound twice: an output that updates an input in place.
    const value = values.get(tensor) ?? createValue(context, tensor, extents[i]);
    values.set(tensor, value);
    return value;
  });
  return {
    strings,
    arrays: [...tensors.map(({ tensor }) => tensor.memory), ...extents],
    names: BigUint64Array.from(strings.map((string) => addressOf(context.ort, string))),
    values: BigUint64Array.from(handles),
  };
}

function createValue({ ort, environment }: Context, tensor: HostTensor, extents: BigInt64Array): Handle {
  return ort.make(
    'CreateTensorWithDataAsOrtValue',
    environment.memoryInfo,
    addressOf(ort, tensor.memory),
    tensor.memory.byteLength,
    addressOf(ort, extents),
    extents.length,
    ELEMENT_TYPES[tensor.dtype].onnxCode,
  );
}

/** Where an array's memory is. Reading `buffer` first moves a small array out of the heap that the collector rearranges. */
function addressOf(ort: OrtLibrary, array: ArrayBufferView): bigint {
  void array.buffer;
  return ort.koffi.address(array);
}
