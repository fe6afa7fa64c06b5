import { invariant, ModelLoadError } from '../../support/errors.js';
import { shorten } from '../families.js';
import { sizeOfShape } from '../parameters.js';
import { type ByteFile, openByteFile } from './byte-file.js';
import { widenBrain, widenHalf } from './half-floats.js';
import { decodeUtf8, duplicateKey, parseJson } from './json-file.js';
import { checkPlacement, type StoredTensor, storedTensor, type TensorFile } from './tensor-file.js';

export interface SafetensorsFile extends TensorFile {
  readonly metadata: Readonly<Record<string, string>>;
}

/** The format's own limit on its header. */
const LARGEST_HEADER_BYTES = 100_000_000;
/** Chunk in which half-width elements are read: it stays in the second-level cache between reading and widening. */
const CHUNK_BYTES = 1 << 18;

const BITS: Readonly<Record<string, number>> = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
}; // prettier-ignore

/**
 * Opens one safetensors file and checks its header against the size of the file; values are read when asked for.
 * Layout: length of the header (u64), header (JSON: name to dtype, shape, byte range), data without gaps.
 * @throws ModelLoadError for anything that breaks the format, before any memory that the header merely claims is taken
 * @see https://github.com/huggingface/safetensors#format
 */
export function openSafetensors(path: string): SafetensorsFile {
  const file = openByteFile(path);
  try {
    const { metadata, tensors } = readHeader(file);
    return {
      path,
      metadata,
      tensors,
      sizeBytes: file.sizeBytes,
      read: (name, into) => readTensor(file, name, storedTensor(path, tensors, name), into),
      readBytes: (name, start, into) => file.readAt(storedTensor(path, tensors, name).offset + start, into),
      dispose: file.dispose,
    };
  } catch (error) {
    file.dispose();
    throw error;
  }
}

function readHeader(file: ByteFile): { metadata: Record<string, string>; tensors: Map<string, StoredTensor> } {
  const { path, sizeBytes } = file;
  if (sizeBytes < 8) throw damaged(path, `has ${sizeBytes} bytes, a safetensors file at least 8`);
  const prefix = Buffer.alloc(8);
  file.readAt(0, prefix);
  const headerBytes = prefix.readBigUInt64LE();
  if (headerBytes > BigInt(sizeBytes - 8))
    throw damaged(path, `claims a header of ${headerBytes} bytes, but has ${sizeBytes} in all`);
  if (headerBytes > LARGEST_HEADER_BYTES)
    throw damaged(path, `claims a header of ${headerBytes} bytes (limit ${LARGEST_HEADER_BYTES})`);
  const bytes = new Uint8Array(Number(headerBytes));
  file.readAt(8, bytes);
  const text = decodeUtf8(bytes, `${path}: header`);
  const header = parseJson(text, `${path}: header`);
  if (typeof header !== 'object' || header === null || Array.isArray(header))
    throw damaged(path, 'has a header that is not an object');
  const twice = duplicateKey(text);
  if (twice !== undefined) throw damaged(path, `names tensor ${shorten(twice)} twice`);

  const tensors = new Map<string, StoredTensor>();
  const dataStart = 8 + bytes.length;
  for (const [name, entry] of Object.entries(header))
    if (name !== '__metadata__') tensors.set(name, parseEntry(path, shorten(name), entry, dataStart));
  checkPlacement(path, tensors, sizeBytes);
  const used = [...tensors.values()].reduce((sum, tensor) => sum + tensor.sizeBytes, dataStart);
  if (used !== sizeBytes) throw damaged(path, `has ${sizeBytes - used} bytes that belong to no tensor`);
  return { metadata: parseMetadata(path, header), tensors };
}

function parseMetadata(path: string, header: object): Record<string, string> {
  const metadata: unknown = Object.hasOwn(header, '__metadata__') ? Reflect.get(header, '__metadata__') : {};
  const isTextMap =
    typeof metadata === 'object' &&
    metadata !== null &&
    !Array.isArray(metadata) &&
    Object.values(metadata).every((value) => typeof value === 'string');
  if (!isTextMap) throw damaged(path, 'has __metadata__ that is not a map of strings');
  return metadata as Record<string, string>;
}

function parseEntry(path: string, name: string, entry: unknown, dataStart: number): StoredTensor {
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry))
    throw damaged(path, `describes tensor ${name} by ${shorten(entry)}`);
  const { dtype, shape, data_offsets: range } = entry as { dtype?: unknown; shape?: unknown; data_offsets?: unknown };
  const bits = typeof dtype === 'string' && Object.hasOwn(BITS, dtype) ? BITS[dtype] : undefined;
  if (typeof dtype !== 'string' || bits === undefined)
    throw damaged(path, `gives tensor ${name} the unknown dtype ${shorten(dtype)}`);
  if (!isExtents(shape)) throw damaged(path, `gives tensor ${name} the shape ${shorten(shape)}`);
  if (!isExtents(range) || range.length !== 2 || range[0] > range[1])
    throw damaged(path, `gives tensor ${name} the byte range ${shorten(range)}`);
  const sizeBytes = range[1] - range[0];
  const expected = (sizeOfShape(shape) * bits) / 8;
  if (sizeBytes !== expected)
    throw damaged(path, `gives tensor ${name} ${sizeBytes} bytes; ${dtype} [${shape.join(', ')}] needs ${expected}`);
  return { dtype, shape, offset: dataStart + range[0], sizeBytes };
}

function isExtents(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((extent) => Number.isSafeInteger(extent) && extent >= 0);
}

function readTensor(file: ByteFile, name: string, tensor: StoredTensor, into: Float32Array | undefined): Float32Array {
  const { dtype, offset } = tensor;
  if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16')
    throw new ModelLoadError(
      `${file.path}: tensor ${name} is ${dtype}; weights must be F32, F16 or BF16. Convert the checkpoint.`,
    );
  const size = sizeOfShape(tensor.shape);
  const values = into ?? new Float32Array(size);
  invariant(values.length === size, `read: ${name} has ${size} values, the memory given ${values.length}`);
  if (dtype === 'F32') file.readAt(offset, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  else readHalves(file, offset, values, dtype);
  return values;
}

/** Reads 2-byte floats from `offset` on and widens them, chunk by chunk. */
export function readHalves(file: ByteFile, offset: number, values: Float32Array, dtype: 'F16' | 'BF16'): void {
  const chunk = new Uint8Array(Math.min(CHUNK_BYTES, values.length * 2));
  const halves = new Uint16Array(chunk.buffer);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let done = 0; done < values.length; ) {
    const count = Math.min(halves.length, values.length - done);
    file.readAt(offset + done * 2, chunk.subarray(0, count * 2));
    const source = halves.subarray(0, count);
    if (dtype === 'F16') widenHalf(source, values, done);
    else widenBrain(source, bits, done);
    done += count;
  }
}

function damaged(path: string, problem: string): ModelLoadError {
  return new ModelLoadError(`${path}: ${problem}. The file is damaged or not safetensors; download it again.`);
}
