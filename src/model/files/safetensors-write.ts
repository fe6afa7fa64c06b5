import { invariant } from '../../support/errors.js';
import { writeFileAtomic } from '../../support/files.js';
import { sizeOfShape } from '../parameters.js';
import { brainBits, halfBits } from './half-floats.js';

export interface TensorToWrite {
  readonly name: string;
  readonly shape: readonly number[];
  /** Row by row. Or a function that gives them when their turn comes, so that not all need be in memory at once. */
  readonly values: Float32Array | (() => Float32Array);
}

export type FloatDtype = 'F32' | 'F16' | 'BF16';

const BYTES: Readonly<Record<FloatDtype, number>> = { F32: 4, F16: 2, BF16: 2 };
const CHUNK_VALUES = 1 << 18;

/**
 * Writes tensors as one safetensors file that `transformers` loads (metadata `format: pt`), streamed and atomic.
 * @param options.dtype storage type, default F32; F16 and BF16 round to nearest, ties to even
 * @throws DataError where the disk is full or the folder not writable; nothing is left behind
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  options: { dtype?: FloatDtype } = {},
): Promise<void> {
  const dtype = options.dtype ?? 'F32';
  await writeFileAtomic(path, fileBytes(tensors, dtype));
}

function* fileBytes(tensors: readonly TensorToWrite[], dtype: FloatDtype): Generator<Uint8Array> {
  yield headerBytes(tensors, dtype);
  for (const tensor of tensors) {
    const values = typeof tensor.values === 'function' ? tensor.values() : tensor.values;
    invariant(
      values.length === sizeOfShape(tensor.shape),
      `${tensor.name} has ${values.length} values for [${tensor.shape.join(', ')}]`,
    );
    if (dtype === 'F32') yield new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    else yield* narrowed(values, dtype);
  }
}

function headerBytes(tensors: readonly TensorToWrite[], dtype: FloatDtype): Uint8Array {
  const entries: [string, unknown][] = [['__metadata__', { format: 'pt' }]];
  let end = 0;
  for (const { name, shape } of tensors) {
    const start = end;
    end += sizeOfShape(shape) * BYTES[dtype];
    entries.push([name, { dtype, shape, data_offsets: [start, end] }]);
  }
  invariant(new Set(entries.map(([name]) => name)).size === entries.length, 'two tensors to write have the same name');
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const padded = Math.ceil(json.length / 8) * 8; // the data begins at a multiple of 8
  const header = Buffer.alloc(8 + padded, ' ');
  header.writeBigUInt64LE(BigInt(padded));
  json.copy(header, 8);
  return header;
}

function* narrowed(values: Float32Array, dtype: 'F16' | 'BF16'): Generator<Uint8Array> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let start = 0; start < values.length; start += CHUNK_VALUES) {
    const halves = new Uint16Array(Math.min(CHUNK_VALUES, values.length - start));
    for (let index = 0; index < halves.length; index++)
      halves[index] = dtype === 'BF16' ? brainBits(bits[start + index]) : halfBits(values[start + index]);
    yield new Uint8Array(halves.buffer);
  }
}
