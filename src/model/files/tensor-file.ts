import type { StoredSpec } from '../../engine/runtime/types.js';
import { ModelLoadError } from '../../support/errors.js';

const COMPARED_BYTES = 1 << 20;

/** Where a tensor lies in a file. */
export interface StoredTensor {
  /** Element or block type, in the spelling of the format (F32, BF16, Q4_K). */
  readonly dtype: string;
  /** Extents, outermost first. */
  readonly shape: readonly number[];
  /** Byte of the file at which the tensor's data begins. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/** How to keep a matrix as its blocks; `fill` reads them from the file. */
export type StoredMatrix = Omit<StoredSpec, 'shape'>;

/** A file (or a set of shards) of named tensors, read one at a time. */
export interface TensorFile {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly sizeBytes: number;
  /**
   * A tensor's values as float32, row by row, written to `into` (of exactly its size) or to new memory.
   * @throws ModelLoadError where the tensor is missing, its type cannot be read or the file ends early
   */
  read(name: string, into?: Float32Array): Float32Array;
  /** A matrix that is stored in blocks which can be computed on as they are; undefined for any other tensor. */
  readonly blocks?: (name: string) => StoredMatrix | undefined;
  /** The tensor's bytes as stored, from its byte `start` on, to compare without widening. */
  readBytes(name: string, start: number, into: Uint8Array): void;
  dispose(): void;
}

/**
 * Refuses tensors that lie outside the file or share bytes.
 * @throws ModelLoadError naming the tensors
 */
export function checkPlacement(path: string, tensors: ReadonlyMap<string, StoredTensor>, fileBytes: number): void {
  const placed = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.sizeBytes - b.sizeBytes);
  let end = 0;
  let before = '';
  for (const [name, tensor] of placed) {
    if (tensor.offset + tensor.sizeBytes > fileBytes)
      throw new ModelLoadError(
        `${path}: tensor ${name} needs bytes ${tensor.offset} to ${tensor.offset + tensor.sizeBytes}, but the file has ${fileBytes}. It is cut off or damaged; download it again.`,
      );
    if (tensor.sizeBytes === 0) continue;
    if (tensor.offset < end)
      throw new ModelLoadError(`${path}: tensors ${before} and ${name} overlap. The file is damaged or hostile.`);
    end = tensor.offset + tensor.sizeBytes;
    before = name;
  }
}

/** True where two tensors of a file are stored alike, byte for byte; read in chunks, so that large ones cost no memory. */
export function isStoredAlike(file: TensorFile, firstName: string, secondName: string): boolean {
  const [first, second] = [firstName, secondName].map((name) => storedTensor(file.path, file.tensors, name));
  if (first.dtype !== second.dtype || first.sizeBytes !== second.sizeBytes) return false;
  const [a, b] = [Buffer.alloc(COMPARED_BYTES), Buffer.alloc(COMPARED_BYTES)];
  for (let start = 0; start < first.sizeBytes; start += COMPARED_BYTES) {
    const length = Math.min(COMPARED_BYTES, first.sizeBytes - start);
    file.readBytes(firstName, start, a.subarray(0, length));
    file.readBytes(secondName, start, b.subarray(0, length));
    if (!a.subarray(0, length).equals(b.subarray(0, length))) return false;
  }
  return true;
}

/** The tensor of that name. */
export function storedTensor(path: string, tensors: ReadonlyMap<string, StoredTensor>, name: string): StoredTensor {
  const tensor = tensors.get(name);
  if (!tensor)
    throw new ModelLoadError(`${path}: there is no tensor ${name}. The checkpoint is incomplete or of another model.`);
  return tensor;
}
