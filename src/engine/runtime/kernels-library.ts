/** The native kernels: which library there is, and which ops it offers on this machine. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type koffiModule from 'koffi';
import { ConfigError, messageOf } from '../../support/errors.js';

/** Instruction sets that kernels are written for, least first; each contains those before it. */
export const KERNEL_LEVELS = ['none', 'portable', 'avx2', 'avx512', 'amx'] as const;
export type KernelLevel = (typeof KERNEL_LEVELS)[number];

/** The kernels that a runtime computes with. */
export interface Kernels {
  readonly level: KernelLevel;
  /** Names of the ops it has; none at level 'none'. */
  readonly ops: ReadonlySet<string>;
  /** Why there are none, or why not all that the machine could run. */
  readonly reason: string | undefined;
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

const none = (reason: string): KernelsLibrary => ({
  level: 'none',
  ops: new Set(),
  reason,
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
  const path = fileURLToPath(new URL(`../../../kernels/build/${file}`, import.meta.url));
  if (!existsSync(path)) return none('not built: run `node scripts/build-kernels.mjs` where there is a C compiler');
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof koffiModule;
    const library = koffi.load(path);
    const level = KERNEL_LEVELS[library.func('azeotrope_kernels_open', 'int', ['int'])(most) as number];
    const names = library.func('azeotrope_kernels_ops', 'str', [])() as string;
    const trim = library.func('azeotrope_kernels_trim', 'void', []) as unknown as () => void;
    return {
      level,
      ops: new Set(names.split(' ').filter((name) => name !== '')),
      reason: asked === '' ? undefined : `AZEOTROPE_KERNELS=${asked}`,
      path,
      trim: () => trim(),
    };
  } catch (error) {
    return none(`${file} does not load: ${messageOf(error)}`);
  }
}
