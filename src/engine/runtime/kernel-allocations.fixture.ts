/** What kernels have allocated, as their library counts it. */
import koffi from 'koffi';
import { loadKernels } from './kernels-library.js';

/** Allocations so far; 0 where there is no library. */
export function kernelAllocations(): number {
  const { path } = loadKernels();
  return path === undefined ? 0 : (koffi.load(path).func('azeotrope_kernels_allocations', 'long', [])() as number);
}
