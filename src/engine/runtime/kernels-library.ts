/** The native kernels: which library there is, and which ops it offers on this machine. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type koffiModule from 'koffi';
import { ConfigError, messageOf } from '../../support/errors.js';

/** Instruction sets that kernels are written for, least first; each contains those before it. */
const KERNEL_LEVELS = ['none', 'portable', 'avx2', 'avx512', 'avx512bf16', 'amx'] as const;
export type KernelLevel = (typeof KERNEL_LEVELS)[number];

/**
 * Where bfloat16 is as fast as float32 in training and faster in decoding (docs/kernels.md). Below, its products cost more than the
 * runtime's float32 ones, and only steps of few rows, which wait for memory, gain.
 */
const HALF_LEVELS: ReadonlySet<KernelLevel> = new Set(['avx512', 'avx512bf16', 'amx']);

/** Whether there are kernels of bfloat16, and they are faster than float32. */
export const prefersHalf = ({ level, ops }: Pick<Kernels, 'level' | 'ops'>): boolean =>
  HALF_LEVELS.has(level) && ops.has('DecodeLinear');

/** The kernels that a runtime computes with. */
export interface Kernels {
  readonly level: KernelLevel;
  /** Names of the ops it has; none at level 'none'. */
  readonly ops: ReadonlySet<string>;
  /** Why there are none, or why not all that the machine could run. */
  readonly reason: string | undefined;
  /** Where the library comes from: built by this machine's compiler, or shipped with the package. */
  readonly origin: 'compiled' | 'prebuilt' | undefined;
}

export interface KernelsLibrary extends Kernels {
  /** The file that sessions register, where there is one. */
  readonly path: string | undefined;
  /** Gives scratch memory back to the system. */
  trim(): void;
}

const FILE_NAMES: Partial<Record<NodeJS.Platform, string>> = {
  linux: 'libazeotrope_kernels.so',
  darwin: 'libazeotrope_kernels.dylib',
};

const PLATFORM = `${process.platform}-${process.arch}`;
const BUILD_SCRIPT = fileURLToPath(new URL('../../../scripts/build-kernels.mjs', import.meta.url));

/** Searched in this order. */
const PLACES = [
  { origin: 'compiled', folder: new URL('../../../kernels/build/', import.meta.url) },
  {
    origin: 'prebuilt',
    folder: new URL(`../../../kernels/prebuilt/${PLATFORM}/`, import.meta.url),
  },
] as const;

const none = (reason: string): KernelsLibrary => ({
  level: 'none',
  ops: new Set(),
  reason,
  origin: undefined,
  path: undefined,
  trim: () => {},
});

export const NO_KERNELS: Kernels = none('the stock binding cannot load kernels');

let loaded: KernelsLibrary | undefined;

/**
 * Loads once a process. AZEOTROPE_KERNELS names the highest level to use (`none`: no kernels at all). A missing or broken
 * library is no error: the runtime works without. Errors: ConfigError for an unknown level.
 */
export function loadKernels(): KernelsLibrary {
  loaded ??= load(process.env.AZEOTROPE_KERNELS ?? '');
  return loaded;
}

function load(asked: string): KernelsLibrary {
  const most = asked === '' ? KERNEL_LEVELS.length - 1 : KERNEL_LEVELS.indexOf(asked as KernelLevel);
  if (most < 0) {
    throw new ConfigError(`AZEOTROPE_KERNELS is '${asked}', expected one of ${KERNEL_LEVELS.join(', ')}.`);
  }
  if (most === 0) return none('AZEOTROPE_KERNELS=none');
  const file = FILE_NAMES[process.platform];
  if (file === undefined) return none(`there are none for ${process.platform}`);
  const found = PLACES.map(({ origin, folder }) => ({ origin, path: fileURLToPath(new URL(file, folder)) })).filter(
    ({ path }) => existsSync(path),
  );
  if (found.length === 0)
    return none(`not built, and none shipped for ${PLATFORM}: where there is a C compiler, run node ${BUILD_SCRIPT}`);
  const failures: string[] = [];
  for (const { origin, path } of found) {
    try {
      return { ...open(path, most), origin, reason: asked === '' ? undefined : `AZEOTROPE_KERNELS=${asked}` };
    } catch (error) {
      failures.push(`${path} does not load: ${messageOf(error)}`);
    }
  }
  return none(failures.join('; '));
}

/** What one file offers at level `most` or below. Throws where it does not load. */
function open(path: string, most: number): Omit<KernelsLibrary, 'origin' | 'reason'> {
  const koffi = createRequire(import.meta.url)('koffi') as typeof koffiModule;
  const library = koffi.load(path);
  const level = KERNEL_LEVELS[library.func('azeotrope_kernels_open', 'int', ['int'])(most) as number];
  const names = library.func('azeotrope_kernels_ops', 'str', [])() as string;
  const trim = library.func('azeotrope_kernels_trim', 'void', []) as unknown as () => void;
  return { level, ops: new Set(names.split(' ').filter((name) => name !== '')), path, trim: () => trim() };
}
