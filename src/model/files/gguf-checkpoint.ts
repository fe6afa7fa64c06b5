import type { TransformerConfig } from '../config.js';
import { familyOfGguf } from '../families.js';
import { ggufToConfig } from '../gguf-config.js';
import { ggufNameOf } from '../parameters.js';
import { type GgufFile, openGguf } from './gguf.js';
import { type StoredMatrix, type StoredTensor, storedTensor, type TensorFile } from './tensor-file.js';

/** A GGUF file under the names, and in the row order, of a published checkpoint. */
export interface GgufCheckpoint {
  readonly file: GgufFile;
  readonly config: TransformerConfig;
  readonly weights: TensorFile;
}

/** @throws ModelLoadError */
export function openGgufCheckpoint(path: string, specNames: (config: TransformerConfig) => string[]): GgufCheckpoint {
  const file = openGguf(path);
  try {
    const config = ggufToConfig(file.metadata, file);
    const family = familyOfGguf(file.metadata['general.architecture'], path);
    const ggufNames = new Map(specNames(config).map((name) => [name, ggufNameOf(name)]));
    const tensors = new Map<string, StoredTensor>();
    for (const [name, ggufName] of ggufNames) {
      const stored = file.tensors.get(ggufName);
      if (stored) tensors.set(name, stored);
    }
    // What no parameter takes keeps its own name, so that the check for unknown tensors sees it.
    const taken = new Set(ggufNames.values());
    for (const [ggufName, stored] of file.tensors) if (!taken.has(ggufName)) tensors.set(ggufName, stored);
    /** Puts the rows of a tensor, its values or its blocks, into the order of a published checkpoint. */
    function orderRows(name: string, rows: Float32Array | Uint8Array): void {
      const isRotated = /\.self_attn\.[qk]_proj\./.test(name);
      const [numRows] = storedTensor(path, tensors, name).shape;
      if (family.ggufRotaryPairsAdjacent && isRotated) splitRotaryPairs(rows, numRows, config.headSize);
    }
    function read(name: string, into?: Float32Array): Float32Array {
      const values = file.read(ggufNames.get(name) ?? name, into);
      orderRows(name, values);
      return values;
    }
    function blocks(name: string): StoredMatrix | undefined {
      const stored = file.blocks?.(ggufNames.get(name) ?? name);
      return (
        stored && {
          ...stored,
          fill(bytes) {
            stored.fill(bytes);
            orderRows(name, bytes);
          },
        }
      );
    }
    return {
      file,
      config,
      weights: {
        path,
        tensors,
        sizeBytes: file.sizeBytes,
        read,
        blocks,
        readBytes: file.readBytes,
        dispose: file.dispose,
      },
    };
  } catch (error) {
    file.dispose();
    throw error;
  }
}

/**
 * Undoes llama.cpp's order of query and key rows, in place: within each head, row 2i + p goes to row i + p·D/2.
 * @param values `[rows, …]`, rows = heads · D; numbers, or the bytes that hold them
 */
function splitRotaryPairs(values: Float32Array | Uint8Array, rows: number, headSize: number): void {
  const width = values.length / rows;
  const head = values.slice(0, headSize * width);
  for (let start = 0; start < values.length; start += head.length) {
    head.set(values.subarray(start, start + head.length));
    for (let row = 0; row < headSize; row++) {
      const to = (row >> 1) + (row & 1) * (headSize / 2);
      values.set(head.subarray(row * width, (row + 1) * width), start + to * width);
    }
  }
}
