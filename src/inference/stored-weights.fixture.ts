/** A small model whose matrices are blocks of several formats, as those of a GGUF file. */
import type { TransformerConfig } from '../model/config.js';
import { BLOCK_FORMATS } from '../model/files/ggml-blocks.js';
import type { loadModel } from '../model/language-model.js';
import { parameterSpecs, sizeOfShape } from '../model/parameters.js';
import { createRandom } from '../support/random.js';

export const storedConfig: TransformerConfig = {
  family: 'llama',
  vocabSize: 168,
  hiddenSize: 96,
  intermediateSize: 160,
  numLayers: 2,
  numHeads: 4,
  numKvHeads: 2,
  headSize: 16,
  rmsNormEps: 1e-5,
  ropeTheta: 10000,
  ropeScaling: { kind: 'none' },
  maxPositions: 2048,
  qkvBias: true,
  outputBias: false,
  mlpBias: false,
  qkNorm: false,
  tiedHead: true,
  bosTokenId: undefined,
  eosTokenIds: [],
  padTokenId: undefined,
  initializerRange: 0.1,
};

/** Mixed as in files: most matrices alike, some with more bits, one not in blocks at all. */
function formatOf(name: string): string | undefined {
  if (name.includes('embed_tokens')) return 'Q8_0';
  if (name.includes('v_proj')) return 'Q5_1';
  if (name.includes('layers.1.mlp.up_proj')) return undefined;
  return name.includes('layers.0') ? 'Q4_1' : 'Q4_0';
}

/** A checkpoint of random blocks; `isStored`: offers them. */
export function storedCheckpoint(isStored: boolean): Parameters<typeof loadModel>[1] {
  const blocks = new Map<string, { format: string; bytes: Uint8Array }>();
  for (const { name, shape } of parameterSpecs(storedConfig)) {
    const format = formatOf(name);
    if (shape.length !== 2 || format === undefined) continue;
    const { blockSize, blockBytes } = BLOCK_FORMATS[format];
    const random = createRandom(name);
    const bytes = Uint8Array.from({ length: (sizeOfShape(shape) / blockSize) * blockBytes }, () => random.integer(256));
    // Halves: a factor of about 0.01 and, where there is one, a least value of about −0.1.
    for (let at = 0; at < bytes.length; at += blockBytes) {
      bytes[at + 1] = 0x20 + random.integer(4);
      if (format.endsWith('_1')) bytes[at + 3] = 0xac + random.integer(4);
    }
    blocks.set(name, { format, bytes });
  }
  return {
    config: storedConfig,
    read(name, into) {
      const stored = blocks.get(name);
      const random = createRandom(name);
      if (stored === undefined) for (let index = 0; index < into.length; index++) into[index] = 0.1 * random.normal();
      else {
        const { dequantize, blockBytes } = BLOCK_FORMATS[stored.format];
        dequantize(stored.bytes, stored.bytes.length / blockBytes, into, 0);
      }
    },
    blocks(name) {
      const stored = blocks.get(name);
      if (!isStored || stored === undefined) return undefined;
      const { number, dequantize, blockBytes } = BLOCK_FORMATS[stored.format];
      return {
        format: number,
        sizeBytes: stored.bytes.length,
        fill: (bytes) => bytes.set(stored.bytes),
        read: (bytes, into) => dequantize(bytes, bytes.length / blockBytes, into, 0),
      };
    },
  };
}
