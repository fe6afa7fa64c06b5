/** Large blocks straight from the operating system, so that `free` returns them at once and not when garbage is collected. */
import { constants } from 'node:buffer';
import type koffi from 'koffi';
import { type Allocate, allocateArrayBuffer, allocationError } from './memory.js';

type Koffi = typeof koffi;

/** Flags of mmap(2) that differ between systems. */
const MAP_FLAGS: Partial<Record<NodeJS.Platform, { anonymous: number; noReserve: number }>> = {
  linux: { anonymous: 0x20, noReserve: 0x4000 },
  darwin: { anonymous: 0x1000, noReserve: 0x40 },
};
const PROT_READ_WRITE = 3;
const MAP_PRIVATE = 2;
const MAP_FIXED = 0x10;
const MADV_HUGEPAGE = 14;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;
/** Below this a mapping of its own wastes more than it saves. */
const SMALLEST_MAPPING_BYTES = 256 * 1024;
const SMALLEST_HUGE_BYTES = 2 * 2 ** 20;
/** Large pages start at multiples of this. */
const HUGE_PAGE_BYTES = 2 ** 21;

let allocate: Allocate | undefined;
/** Referenced for good: functions of a library that was collected crash. */
let libc: ReturnType<Koffi['load']> | undefined;

/** The allocator of this process, see `createAllocator`. */
export function mappedAllocator(koffi: Koffi): Allocate {
  allocate ??= createAllocator(koffi);
  return allocate;
}

/**
 * The allocator of the C API binding: mappings for large blocks on Linux and macOS, array buffers for the rest.
 *
 * `free` replaces the pages by untouched ones, which returns the memory at once and leaves the addresses readable: an array
 * that outlives its tensor reads zeros instead of ending the process. The addresses go when the array buffer is collected.
 */
function createAllocator(koffi: Koffi): Allocate {
  const small: Allocate = (sizeBytes) => allocateArrayBuffer(sizeBytes, (buffer) => koffi.address(buffer));
  const flags = MAP_FLAGS[process.platform];
  if (flags === undefined) return small;
  libc = koffi.load(null);
  const map = libc.func('mmap', 'void *', ['void *', 'size_t', 'int', 'int', 'int', 'int64_t']);
  const unmap = libc.func('munmap', 'int', ['void *', 'size_t']);
  const advise = libc.func('madvise', 'int', ['void *', 'size_t', 'int']);
  const privateFlags = MAP_PRIVATE | flags.anonymous;
  const addresses = new FinalizationRegistry<{ address: bigint; sizeBytes: number }>(({ address, sizeBytes }) => {
    unmap(address, sizeBytes);
  });

  return (sizeBytes) => {
    // A view beyond Node's limit on external buffers would end the process (fatal error in koffi 3.3).
    if (sizeBytes < SMALLEST_MAPPING_BYTES || sizeBytes > constants.MAX_LENGTH) return small(sizeBytes);
    const isHuge = process.platform === 'linux' && sizeBytes >= SMALLEST_HUGE_BYTES;
    // Addresses cost nothing: as many more as it takes to start where a large page does.
    const mappedBytes = isHuge ? sizeBytes + HUGE_PAGE_BYTES : sizeBytes;
    const mapped: bigint | null = map(null, mappedBytes, PROT_READ_WRITE, privateFlags, -1, 0);
    if (mapped === null || mapped === MAP_FAILED) {
      throw allocationError(sizeBytes, `mmap failed with error ${koffi.errno()}`);
    }
    const address = isHuge ? roundUp(mapped, BigInt(HUGE_PAGE_BYTES)) : mapped;
    if (isHuge) advise(address, sizeBytes, MADV_HUGEPAGE);
    const buffer = koffi.view(address, sizeBytes);
    addresses.register(buffer, { address: mapped, sizeBytes: mappedBytes });
    return {
      buffer,
      byteOffset: 0,
      free: () => void map(address, sizeBytes, PROT_READ_WRITE, privateFlags | flags.noReserve | MAP_FIXED, -1, 0),
    };
  };
}

const roundUp = (address: bigint, multiple: bigint): bigint => ((address + multiple - 1n) / multiple) * multiple;
