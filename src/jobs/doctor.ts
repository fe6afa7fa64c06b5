/** What this installation computes with on this machine, why, and how fast. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, freemem, release, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { createCompiler, effectivePrecision } from '../engine/compiler.js';
import type { Kernels } from '../engine/runtime/kernels-library.js';
import { openRuntime } from '../engine/runtime/open.js';
import type { RuntimeKind } from '../engine/runtime/types.js';
import { packageVersion } from '../support/package-version.js';
import { type MachineRates, type MeasureOptions, measureRates } from './machine-rates.js';

export interface Diagnosis {
  readonly versions: Readonly<Record<string, string>>;
  readonly machine: {
    readonly processor: string;
    /** Node's names: linux-x64. */
    readonly platform: string;
    readonly system: string;
    /** Processors this process may use. */
    readonly numProcessors: number;
    readonly memoryBytes: number;
    readonly freeMemoryBytes: number;
  };
  readonly runtime: {
    readonly kind: RuntimeKind;
    /** Why not the C API. */
    readonly reason: string | null;
    readonly threads: number;
  };
  readonly kernels: {
    readonly path: 'compiled' | 'prebuilt' | 'absent';
    /** Instruction set in use. */
    readonly level: Kernels['level'];
    readonly numOps: number;
    /** Why there are none, or not all that the machine could run. */
    readonly reason: string | null;
    /** First line of the C compiler's version; null: none is found. */
    readonly compiler: string | null;
    /** A source is newer than what was compiled from it. */
    readonly isStale: boolean;
  };
  /** What `--precision bfloat16` means here. */
  readonly bfloat16: 'bfloat16' | 'float32';
  /** Whether `--precision auto` is bfloat16. */
  readonly isHalfDefault: boolean;
  /** Whether sampling and scoring compute on matrices of GGUF files as they are stored. */
  readonly hasBlocks: boolean;
  /** Null where they were not asked for. */
  readonly rates: MachineRates | null;
}

export interface DoctorOptions extends MeasureOptions {
  readonly threads?: number | undefined;
  /** Default: true. */
  readonly measure?: boolean;
}

const PACKAGES = ['onnxruntime-node', 'koffi'];
const KERNELS = fileURLToPath(new URL('../../kernels/', import.meta.url));

/** Examines and, unless told not to, measures. Errors: those of `openRuntime`. */
export async function examine(options: DoctorOptions = {}): Promise<Diagnosis> {
  const runtime = openRuntime({ threads: options.threads });
  const compiler = createCompiler(runtime);
  try {
    const { kernels } = runtime;
    return {
      versions: versionsHere(runtime.version),
      machine: {
        processor: cpus()[0]?.model.trim() || 'unknown',
        platform: `${process.platform}-${process.arch}`,
        system: release(),
        numProcessors: availableParallelism(),
        memoryBytes: totalmem(),
        freeMemoryBytes: availableMemory(),
      },
      runtime: { kind: runtime.kind, reason: runtime.fallbackReason ?? null, threads: runtime.numThreads },
      kernels: {
        path: kernels.origin ?? 'absent',
        level: kernels.level,
        numOps: kernels.ops.size,
        reason: kernels.reason ?? null,
        compiler: compilerVersion(),
        isStale: kernels.origin === 'compiled' && isStale(),
      },
      bfloat16: effectivePrecision(runtime, 'bfloat16'),
      isHalfDefault: effectivePrecision(runtime, 'auto') === 'bfloat16',
      hasBlocks: kernels.ops.has('FloatBlockGroups'),
      rates: options.measure === false ? null : await measureRates(compiler, options),
    };
  } finally {
    compiler.dispose();
    runtime.dispose();
  }
}

function versionsHere(onnxRuntime: string): Record<string, string> {
  const require = createRequire(import.meta.url);
  const versions: Record<string, string> = {
    azeotrope: packageVersion(),
    node: process.versions.node,
    'ONNX Runtime': onnxRuntime,
  };
  for (const name of PACKAGES) {
    try {
      // A package may keep its package.json to itself: the folder is in the path of its main file.
      const folder = /^.*[\\/]node_modules[\\/][^\\/]+/.exec(require.resolve(name))?.[0];
      versions[name] = (JSON.parse(readFileSync(`${folder}/package.json`, 'utf8')) as { version: string }).version;
    } catch {
      versions[name] = 'absent'; // it may be: the other runtime serves
    }
  }
  return versions;
}

/** Memory that programs could still have: on Linux the file cache counts as free. */
function availableMemory(): number {
  if (!existsSync('/proc/meminfo')) return freemem();
  const kibibytes = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1];
  return kibibytes === undefined ? freemem() : Number(kibibytes) * 1024;
}

function compilerVersion(): string | null {
  const { status, stdout } = spawnSync(process.env.CC || 'cc', ['--version'], { encoding: 'utf8' });
  return status === 0 ? stdout.split('\n')[0].trim() : null;
}

function isStale(): boolean {
  const newest = (folder: string, pattern: RegExp) =>
    Math.max(
      ...readdirSync(folder)
        .filter((name) => pattern.test(name))
        .map((name) => statSync(folder + name).mtimeMs),
    );
  return newest(KERNELS, /\.[ch]$/) > newest(`${KERNELS}build/`, /^libazeotrope_kernels\./);
}
