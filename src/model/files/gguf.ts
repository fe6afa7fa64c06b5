import { invariant, ModelLoadError } from '../../support/errors.js';
import { shorten } from '../families.js';
import { sizeOfShape } from '../parameters.js';
import { type ByteFile, openByteFile } from './byte-file.js';
import { BLOCK_FORMATS, type BlockFormat, GGML_TYPES } from './ggml-blocks.js';
import { createHeaderReader, type HeaderReader } from './gguf-metadata.js';
import { readHalves } from './safetensors.js';
import { checkPlacement, type StoredMatrix, type StoredTensor, storedTensor, type TensorFile } from './tensor-file.js';

export interface GgufFile extends TensorFile {
  readonly version: number;
  readonly metadata: Readonly<Record<string, unknown>>;
}

const MAGIC = 0x46554747; // "GGUF" read as a little-endian number
/** Bytes of compressed blocks read at a time: with their values they stay in the second-level cache. */
const CHUNK_BYTES = 1 << 16;

/**
 * Opens a llama.cpp model file: metadata and the places of tensors; values are read, and turned into float32, when asked for.
 * Names, row order and quirks stay llama.cpp's; shapes are turned outermost first.
 * @throws ModelLoadError for anything that breaks the format, before any memory that the header merely claims is taken
 * @see https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
export function openGguf(path: string): GgufFile {
  const file = openByteFile(path);
  try {
    const reader = createHeaderReader(file);
    const version = readVersion(reader);
    const numTensors = reader.size('the number of tensors');
    const numKeys = reader.size('the number of metadata keys');
    const metadata = readMetadata(reader, numKeys);
    const tensors = readTensorInfos(reader, numTensors, alignmentOf(reader, metadata));
    checkPlacement(path, tensors, file.sizeBytes);
    return {
      path,
      version,
      metadata,
      tensors,
      sizeBytes: file.sizeBytes,
      read: (name, into) => readTensor(file, name, storedTensor(path, tensors, name), into),
      blocks: (name) => storedMatrix(file, storedTensor(path, tensors, name)),
      readBytes: (name, start, into) => file.readAt(storedTensor(path, tensors, name).offset + start, into),
      dispose: file.dispose,
    };
  } catch (error) {
    file.dispose();
    throw error;
  }
}

function readVersion(reader: HeaderReader): number {
  if (reader.uint32() !== MAGIC) reader.fail('does not begin with "GGUF"');
  const version = reader.uint32();
  if (version >>> 16 !== 0) reader.fail('is a big-endian GGUF file, which is not supported');
  if (version !== 2 && version !== 3) reader.fail(`has GGUF version ${version}; supported are 2 and 3`);
  return version;
}

function readMetadata(reader: HeaderReader, numKeys: number): Record<string, unknown> {
  reader.expect(numKeys, 13, 'the metadata'); // key length 8, type 4, value 1
  const metadata: Record<string, unknown> = Object.create(null);
  for (let index = 0; index < numKeys; index++) {
    const key = reader.text(`metadata key ${index}`);
    if (key in metadata) reader.fail(`names metadata key ${shorten(key)} twice`);
    metadata[key] = reader.value(reader.uint32(), shorten(key));
  }
  const numParts = Number(metadata['split.count'] ?? 1);
  if (numParts > 1)
    reader.fail(
      `is one of ${numParts} parts of a split model. Join them with llama-gguf-split --merge, then open the result`,
    );
  return metadata;
}

function alignmentOf(reader: HeaderReader, metadata: Readonly<Record<string, unknown>>): number {
  const alignment = metadata['general.alignment'] ?? 32;
  const isValid =
    typeof alignment === 'number' && Number.isInteger(alignment) && alignment >= 1 && alignment <= 2 ** 16;
  return isValid ? alignment : reader.fail(`has general.alignment ${shorten(alignment)}; expected 1 to 65536`);
}

function readTensorInfos(reader: HeaderReader, numTensors: number, alignment: number): Map<string, StoredTensor> {
  reader.expect(numTensors, 32, 'the list of tensors'); // name length 8, dims 4 + 8, type 4, offset 8
  const infos: { name: string; dtype: string; shape: number[]; offset: number; sizeBytes: number }[] = [];
  for (let index = 0; index < numTensors; index++) {
    const name = reader.text(`the name of tensor ${index}`);
    const shown = shorten(name);
    const rank = reader.uint32();
    if (rank < 1 || rank > 4) reader.fail(`gives tensor ${shown} ${rank} dimensions; expected 1 to 4`);
    const shape = Array.from({ length: rank }, () => reader.size(`a dimension of tensor ${shown}`)).reverse();
    const type = reader.uint32();
    const [dtype, blockSize, blockBytes] =
      GGML_TYPES[type] ?? reader.fail(`gives tensor ${shown} the unknown type ${type}`);
    const offset = reader.size(`the offset of tensor ${shown}`);
    const size = sizeOfShape(shape);
    if (!Number.isSafeInteger(size) || size < 1) reader.fail(`gives tensor ${shown} the shape [${shape.join(', ')}]`);
    if (shape[rank - 1] % blockSize !== 0)
      reader.fail(
        `gives tensor ${shown} rows of ${shape[rank - 1]} values, not a multiple of ${dtype}'s block of ${blockSize}`,
      );
    if (offset % alignment !== 0)
      reader.fail(`puts tensor ${shown} at ${offset}, not a multiple of the alignment ${alignment}`);
    infos.push({ name, dtype, shape, offset, sizeBytes: (size / blockSize) * blockBytes });
  }
  const dataStart = Math.ceil(reader.position / alignment) * alignment;
  const tensors = new Map<string, StoredTensor>();
  for (const { name, dtype, shape, offset, sizeBytes } of infos) {
    if (tensors.has(name)) reader.fail(`names tensor ${shorten(name)} twice`);
    tensors.set(name, { dtype, shape, offset: dataStart + offset, sizeBytes });
  }
  return tensors;
}

function readTensor(file: ByteFile, name: string, tensor: StoredTensor, into: Float32Array | undefined): Float32Array {
  const size = sizeOfShape(tensor.shape);
  const { dtype, offset } = tensor;
  const format = BLOCK_FORMATS[dtype];
  if (!format && dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16')
    throw new ModelLoadError(
      `${file.path}: tensor ${name} is ${dtype}, which cannot be read. Supported: F32, F16, BF16, ${Object.keys(BLOCK_FORMATS).join(', ')}. Choose another quantisation of the model.`,
    );
  const values = into ?? new Float32Array(size);
  invariant(values.length === size, `read: ${name} has ${size} values, the memory given ${values.length}`);
  if (format) readBlocks(file, offset, values, format);
  else if (dtype === 'F32') file.readAt(offset, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  else readHalves(file, offset, values, dtype as 'F16' | 'BF16');
  return values;
}

/** The blocks of a matrix; undefined for a tensor of another rank or an element type. */
function storedMatrix(file: ByteFile, { dtype, shape, offset, sizeBytes }: StoredTensor): StoredMatrix | undefined {
  const format = BLOCK_FORMATS[dtype];
  if (format === undefined || shape.length !== 2) return undefined;
  return {
    format: format.number,
    sizeBytes,
    fill: (bytes) => file.readAt(offset, bytes),
    read: (bytes, into) => format.dequantize(bytes, sizeBytes / format.blockBytes, into, 0),
  };
}

function readBlocks(file: ByteFile, offset: number, values: Float32Array, format: BlockFormat): void {
  const { blockSize, blockBytes, dequantize } = format;
  const numBlocks = values.length / blockSize;
  const perChunk = Math.min(numBlocks, Math.floor(CHUNK_BYTES / blockBytes));
  const chunk = new Uint8Array(perChunk * blockBytes);
  for (let done = 0; done < numBlocks; ) {
    const count = Math.min(perChunk, numBlocks - done);
    file.readAt(offset + done * blockBytes, chunk.subarray(0, count * blockBytes));
    dequantize(chunk, count, values, done * blockSize);
    done += count;
  }
}
