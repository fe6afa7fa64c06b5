/** Memory for tensors, and the portable way to get it. */
import { BackendError, messageOf } from '../../support/errors.js';

/** Start of a cache line and of the widest vector register. */
export const ALIGNMENT_BYTES = 64;

/** A zeroed block. */
export interface Memory {
  readonly buffer: ArrayBuffer;
  /** Where the block starts in `buffer`. */
  readonly byteOffset: number;
  /** Gives the memory back. Arrays made over `buffer` must not be read afterwards, but reading them is not a crash. */
  free(): void;
}

export type Allocate = (sizeBytes: number) => Memory;

/** The error for memory that could not be had. */
export function allocationError(sizeBytes: number, reason: string): BackendError {
  return new BackendError(
    `Could not allocate ${sizeBytes} bytes (${(sizeBytes / 2 ** 30).toFixed(2)} GiB) for a tensor: ${reason}. ` +
      'Use a smaller model, batch or context, or free memory.',
  );
}

/**
 * Allocates inside JavaScript's own heap of array buffers: works everywhere; the garbage collector returns the memory some time
 * after `free`. Aligned if `addressOf` can tell where a buffer lies. Errors: BackendError naming the bytes.
 */
export function allocateArrayBuffer(sizeBytes: number, addressOf?: (buffer: ArrayBuffer) => bigint): Memory {
  let buffer: ArrayBuffer;
  try {
    buffer = new ArrayBuffer(sizeBytes + ALIGNMENT_BYTES);
  } catch (error) {
    throw allocationError(sizeBytes, messageOf(error));
  }
  const misalignment = addressOf === undefined ? 0 : Number(addressOf(buffer) % BigInt(ALIGNMENT_BYTES));
  return {
    buffer,
    byteOffset: misalignment === 0 ? 0 : ALIGNMENT_BYTES - misalignment,
    // A transfer detaches the buffer: arrays over it become empty, and nothing else refers to the memory.
    free: () => void structuredClone(buffer, { transfer: [buffer] }),
  };
}
