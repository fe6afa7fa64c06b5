/**
 * The functions of ONNX Runtime's C API that are used here. `OrtApi` is a table of function pointers that only ever grows: an
 * entry keeps its index in every later version (the project asserts so when it is compiled).
 *
 * Result 'status' is an OrtStatus: null, or an error to be read and released. Result 'void' is nothing. A trailing 'out' is
 * the address of a pointer that receives what the function makes.
 *
 * @see onnxruntime_c_api.h, struct OrtApi
 */
interface ApiFunction {
  readonly index: number;
  readonly result: 'status' | 'void' | 'string';
  /** Types in koffi's words; every handle and every address is 'void *'. */
  readonly args: readonly string[];
}

const pointer = 'void *';
const out = '_Out_ void **';

export const API_TABLE = {
  GetErrorMessage: { index: 2, result: 'string', args: [pointer] },
  CreateSessionFromArray: { index: 8, result: 'status', args: [pointer, pointer, 'size_t', pointer, out] },
  /** session, run options, input names, input values, count, output names, count, output values */
  Run: {
    index: 9,
    result: 'status',
    args: [pointer, pointer, pointer, pointer, 'size_t', pointer, 'size_t', pointer],
  },
  CreateSessionOptions: { index: 10, result: 'status', args: [out] },
  /** 0 = sequential */
  SetSessionExecutionMode: { index: 13, result: 'status', args: [pointer, 'int'] },
  DisableMemPattern: { index: 17, result: 'status', args: [pointer] },
  SetSessionGraphOptimizationLevel: { index: 23, result: 'status', args: [pointer, 'int'] },
  /** memory info, data, bytes, extents (int64), rank, element type */
  CreateTensorWithDataAsOrtValue: {
    index: 49,
    result: 'status',
    args: [pointer, pointer, 'size_t', pointer, 'size_t', 'int', out],
  },
  /** allocator type (1 = arena), memory type (0 = default) */
  CreateCpuMemoryInfo: { index: 69, result: 'status', args: ['int', 'int', out] },
  ReleaseEnv: { index: 92, result: 'void', args: [pointer] },
  ReleaseStatus: { index: 93, result: 'void', args: [pointer] },
  ReleaseMemoryInfo: { index: 94, result: 'void', args: [pointer] },
  ReleaseSession: { index: 95, result: 'void', args: [pointer] },
  ReleaseValue: { index: 96, result: 'void', args: [pointer] },
  ReleaseSessionOptions: { index: 100, result: 'void', args: [pointer] },
  /** logging level, name, threading options */
  CreateEnvWithGlobalThreadPools: { index: 119, result: 'status', args: ['int', 'str', pointer, out] },
  DisablePerSessionThreads: { index: 120, result: 'status', args: [pointer] },
  CreateThreadingOptions: { index: 121, result: 'status', args: [out] },
  ReleaseThreadingOptions: { index: 122, result: 'void', args: [pointer] },
  AddSessionConfigEntry: { index: 130, result: 'status', args: [pointer, 'str', 'str'] },
  CreateAndRegisterAllocator: { index: 144, result: 'status', args: [pointer, pointer, pointer] },
  SetGlobalIntraOpNumThreads: { index: 147, result: 'status', args: [pointer, 'int'] },
  SetGlobalInterOpNumThreads: { index: 148, result: 'status', args: [pointer, 'int'] },
  SetGlobalSpinControl: { index: 149, result: 'status', args: [pointer, 'int'] },
  /** most bytes (0 = no limit), extend strategy (1 = as asked), first chunk, dead bytes a chunk (-1 = default) */
  CreateArenaCfg: { index: 156, result: 'status', args: ['size_t', 'int', 'int', 'int', out] },
  /** session options, path (UTF-8) */
  RegisterCustomOpsLibrary_V2: { index: 228, result: 'status', args: [pointer, 'str'] },
  ReleaseArenaCfg: { index: 157, result: 'void', args: [pointer] },
} as const satisfies Record<string, ApiFunction>;

export type ApiName = keyof typeof API_TABLE;

/** Names of the functions whose last argument receives a handle. */
export type MakerName = {
  [K in ApiName]: (typeof API_TABLE)[K]['args'] extends readonly [...string[], typeof out] ? K : never;
}[ApiName];
