import type { TransformerConfig } from '../config.js';
import { familyOfGguf } from '../families.js';
import { ggufToConfig } from '../gguf-config.js';
import { ggufNameOf } from '../parameters.js';
import { type GgufFile, openGguf } from './gguf.js';
import { type StoredTensor, storedTensor, type TensorFile } from './tensor-file.js';

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
    function read(name: string, into?: Float32Array): Float32Array {
      const ggufName = ggufNames.get(name) ?? name;
      const { shape } = storedTensor(path, tensors, name);
      const values = file.read(ggufName, into);
      const isRotated = /\.self_attn\.[qk]_proj\./.test(name);
      if (family.ggufRotaryPairsAdjacent && isRotated) splitRotaryPairs(values, shape[0], config.headSize);
      return values;
    }
    return {
      file,
      config,
      weights: { path, tensors, sizeBytes: file.sizeBytes, read, readBytes: file.readBytes, dispose: file.dispose },
    };
  } catch (error) {
    file.dispose();
    throw error;
  }
}

/**
 * Undoes llama.cpp's order of query and key rows, in place: within each head, row 2i + p goes to row i + p·D/2.
 * @param values `[rows, …]`, rows = heads · D
 */
function splitRotaryPairs(values: Float32Array, rows: number, headSize: number): void {
  const width = values.length / rows;
  const head = new Float32Array(headSize * width);
  for (let start = 0; start < values.length; start += head.length) {
    head.set(values.subarray(start, start + head.length));
    for (let row = 0; row < headSize; row++) {
      const to = (row >> 1) + (row & 1) * (headSize / 2);
      values.set(head.subarray(row * width, (row + 1) * width), start + to * width);
    }
  }
}
