/** ONNX Runtime's shared library, loaded through koffi. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type koffiModule from 'koffi';
import { BackendError, messageOf } from '../../support/errors.js';
import { API_TABLE, type ApiName, type MakerName } from './c-api-table.js';
import { disableTelemetry } from './telemetry.js';

type Koffi = typeof koffiModule;

/** A pointer made by the library. */
export type Handle = bigint;
type Argument = bigint | number | string | null;
type NativeFunction = ReturnType<ReturnType<Koffi['load']>['func']>;

export interface OrtLibrary {
  readonly koffi: Koffi;
  /** Referenced for good: functions of a library that was collected crash. */
  readonly handle: ReturnType<Koffi['load']>;
  readonly version: string;
  /** Calls a function; a status that is an error becomes BackendError with the runtime's words. */
  call(name: ApiName, ...args: Argument[]): void;
  /** Calls a function that makes something, and returns its handle. */
  make(name: MakerName, ...args: Argument[]): Handle;
  /** Calls on another thread; `done` is told the error, if any. */
  callAsync(name: ApiName, args: readonly Argument[], done: (error?: Error) => void): void;
}

/** File names of the library as onnxruntime-node ships it. */
const FILE_NAMES: Partial<Record<NodeJS.Platform, string>> = {
  linux: 'libonnxruntime.so.1',
  darwin: 'libonnxruntime.1.dylib',
  win32: 'onnxruntime.dll',
};

/**
 * Matrix kernels keep panels of 64 KiB and more on the stack, and koffi's default for asynchronous calls is 128 KiB in all.
 * Runs are serial, so one stack is in use at a time.
 */
const ASYNC_STACK_BYTES = 4 * 2 ** 20;

let loaded: OrtLibrary | undefined;

/** Loads once a process. Errors: BackendError when the library or koffi is missing, does not load, or is another version. */
export function loadOrtLibrary(): OrtLibrary {
  loaded ??= load();
  return loaded;
}

function load(): OrtLibrary {
  disableTelemetry();
  const require = createRequire(import.meta.url);
  const { path, packageVersion } = findLibrary(require);
  let koffi: Koffi;
  try {
    koffi = require('koffi') as Koffi;
    koffi.config({ async_stack_size: ASYNC_STACK_BYTES });
  } catch (error) {
    throw new BackendError(`koffi does not load here: ${messageOf(error)}`);
  }
  let library: ReturnType<Koffi['load']>;
  try {
    library = koffi.load(path);
  } catch (error) {
    throw new BackendError(`${path} does not load: ${messageOf(error)}`);
  }
  const base = library.func('OrtGetApiBase', 'void *', [])();
  const [getApi, getVersion] = koffi.decode(base, 'void *', 2) as Handle[];
  const version: string = koffi.decode(getVersion, koffi.proto('str', []))();
  if (version !== packageVersion) {
    throw new BackendError(
      `${path} is ONNX Runtime ${version}, but the package that holds it is ${packageVersion}: reinstall it.`,
    );
  }
  const api: Handle | null = koffi.decode(getApi, koffi.proto('void *', ['uint32_t']))(Number(version.split('.')[1]));
  if (api === null)
    throw new BackendError(`ONNX Runtime ${version} refuses its own API version: reinstall onnxruntime-node.`);
  return { ...createCalls(koffi, api), koffi, version, handle: library };
}

function findLibrary(require: NodeJS.Require): { path: string; packageVersion: string } {
  const { platform, arch } = process;
  let manifest: string;
  try {
    manifest = require.resolve('onnxruntime-node/package.json');
  } catch (error) {
    throw new BackendError(`onnxruntime-node is not installed: ${messageOf(error)}`);
  }
  const path = join(dirname(manifest), 'bin', 'napi-v6', platform, arch, FILE_NAMES[platform] ?? 'unknown');
  if (!existsSync(path))
    throw new BackendError(`onnxruntime-node has no library for ${platform} ${arch} (looked for ${path}).`);
  return { path, packageVersion: (require(manifest) as { version: string }).version };
}

function createCalls(koffi: Koffi, api: Handle): Pick<OrtLibrary, 'call' | 'make' | 'callAsync'> {
  const names = Object.keys(API_TABLE) as ApiName[];
  const pointers = koffi.decode(api, 'void *', Math.max(...names.map((name) => API_TABLE[name].index)) + 1) as Handle[];
  const functions = Object.fromEntries(
    names.map((name) => {
      const { index, result, args } = API_TABLE[name];
      const resultType = { status: 'void *', void: 'void', string: 'str' }[result];
      return [name, koffi.decode(pointers[index], koffi.proto(resultType, [...args]))];
    }),
  ) as Record<ApiName, NativeFunction>;

  const errorOf = (name: ApiName, status: Handle): BackendError => {
    const message: string = functions.GetErrorMessage(status);
    functions.ReleaseStatus(status);
    return new BackendError(`ONNX Runtime refused ${name}: ${message}`);
  };
  const call = (name: ApiName, ...args: unknown[]): void => {
    const status: Handle | null | undefined = functions[name](...args);
    if (status) throw errorOf(name, status);
  };
  return {
    call,
    make(name, ...args) {
      const result: [Handle | null] = [null];
      call(name, ...args, result);
      if (result[0] === null) throw new BackendError(`ONNX Runtime's ${name} made nothing.`);
      return result[0];
    },
    callAsync(name, args, done) {
      functions[name].async(...args, (error: Error | null, status: Handle | null) => {
        if (error) done(new BackendError(`ONNX Runtime's ${name} could not be called: ${messageOf(error)}`));
        else done(status ? errorOf(name, status) : undefined);
      });
    },
  };
}
