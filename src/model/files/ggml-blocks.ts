import { halfTable } from './half-floats.js';

/**
 * The block formats of ggml, to float32. All arithmetic is exact in float64 before the one rounding to float32, so that the
 * result equals the reference's float32 arithmetic bit for bit.
 * @see ggml/src/ggml-quants.c, `dequantize_row_*`; gguf-py `quants.py`
 */
export interface BlockFormat {
  /** In `GGML_TYPES`. */
  readonly number: number;
  /** Values of one block. */
  readonly blockSize: number;
  readonly blockBytes: number;
  /** Reads `count` blocks from `bytes` on and writes `count · blockSize` values from `start` on. */
  readonly dequantize: (bytes: Uint8Array, count: number, into: Float32Array, start: number) => void;
}

const half = halfTable();

/** d, then 16 bytes of two 4-bit values each: x = d (q − 8). */
function dequantizeQ40(bytes: Uint8Array, count: number, into: Float32Array, start: number): void {
  for (let block = 0, at = 0, to = start; block < count; block++, at += 18, to += 32) {
    const scale = half[bytes[at] | (bytes[at + 1] << 8)];
    for (let index = 0; index < 16; index++) {
      const pair = bytes[at + 2 + index];
      into[to + index] = scale * ((pair & 15) - 8);
      into[to + 16 + index] = scale * ((pair >> 4) - 8);
    }
  }
}

/** d, m, then 16 bytes of two 4-bit values each: x = d q + m. */
function dequantizeQ41(bytes: Uint8Array, count: number, into: Float32Array, start: number): void {
  for (let block = 0, at = 0, to = start; block < count; block++, at += 20, to += 32) {
    const scale = half[bytes[at] | (bytes[at + 1] << 8)];
    const least = half[bytes[at + 2] | (bytes[at + 3] << 8)];
    for (let index = 0; index < 16; index++) {
      const pair = bytes[at + 4 + index];
      into[to + index] = scale * (pair & 15) + least;
      into[to + 16 + index] = scale * (pair >> 4) + least;
    }
  }
}

/** d, 32 fifth bits, then 16 bytes of two 4-bit values each: x = d (q − 16). */
function dequantizeQ50(bytes: Uint8Array, count: number, into: Float32Array, start: number): void {
  for (let block = 0, at = 0, to = start; block < count; block++, at += 22, to += 32) {
    const scale = half[bytes[at] | (bytes[at + 1] << 8)];
    const high = bytes[at + 2] | (bytes[at + 3] << 8) | (bytes[at + 4] << 16) | (bytes[at + 5] << 24);
    for (let index = 0; index < 16; index++) {
      const pair = bytes[at + 6 + index];
      into[to + index] = scale * (((pair & 15) | (((high >> index) & 1) << 4)) - 16);
      into[to + 16 + index] = scale * (((pair >> 4) | (((high >> (index + 16)) & 1) << 4)) - 16);
    }
  }
}

/** d, m, 32 fifth bits, then 16 bytes of two 4-bit values each: x = d q + m. */
function dequantizeQ51(bytes: Uint8Array, count: number, into: Float32Array, start: number): void {
  for (let block = 0, at = 0, to = start; block < count; block++, at += 24, to += 32) {
    const scale = half[bytes[at] | (bytes[at + 1] << 8)];
    const least = half[bytes[at + 2] | (bytes[at + 3] << 8)];
    const high = bytes[at + 4] | (bytes[at + 5] << 8) | (bytes[at + 6] << 16) | (bytes[at + 7] << 24);
    for (let index = 0; index < 16; index++) {
      const pair = bytes[at + 8 + index];
      into[to + index] = scale * ((pair & 15) | (((high >> index) & 1) << 4)) + least;
      into[to + 16 + index] = scale * ((pair >> 4) | (((high >> (index + 16)) & 1) << 4)) + least;
    }
  }
}

/** d, then 32 signed bytes: x = d q. */
function dequantizeQ80(bytes: Uint8Array, count: number, into: Float32Array, start: number): void {
  for (let block = 0, at = 0, to = start; block < count; block++, at += 34, to += 32) {
    const scale = half[bytes[at] | (bytes[at + 1] << 8)];
    for (let index = 0; index < 32; index++) into[to + index] = scale * ((bytes[at + 2 + index] << 24) >> 24);
  }
}

/** The 6-bit scale of group `group` (0–7) of a Q4_K or Q5_K block whose 12 scale bytes begin at `at`. */
function scaleOf(bytes: Uint8Array, at: number, group: number): number {
  if (group < 4) return bytes[at + group] & 63;
  return (bytes[at + 4 + group] & 15) | ((bytes[at + group - 4] >> 2) & 48);
}

/** The 6-bit minimum of a group, likewise. */
function leastOf(bytes: Uint8Array, at: number, group: number): number {
  if (group < 4) return bytes[at + 4 + group] & 63;
  return (bytes[at + 4 + group] >> 4) | ((bytes[at + group] >> 2) & 48);
}

/** d, m, 12 bytes of 6-bit scales and minima for 8 groups of 32, then 128 bytes of 4-bit values: x = d s q − m l. */
function dequantizeQ4K(bytes: Uint8Array, count: number, into: Float32Array, start: number): void {
  for (let block = 0, at = 0, to = start; block < count; block++, at += 144, to += 256) {
    const d = half[bytes[at] | (bytes[at + 1] << 8)];
    const m = half[bytes[at + 2] | (bytes[at + 3] << 8)];
    for (let pair = 0; pair < 4; pair++) {
      const scaleLow = d * scaleOf(bytes, at + 4, 2 * pair);
      const leastLow = m * leastOf(bytes, at + 4, 2 * pair);
      const scaleHigh = d * scaleOf(bytes, at + 4, 2 * pair + 1);
      const leastHigh = m * leastOf(bytes, at + 4, 2 * pair + 1);
      const from = at + 16 + pair * 32;
      const low = to + pair * 64;
      for (let index = 0; index < 32; index++) {
        const value = bytes[from + index];
        into[low + index] = scaleLow * (value & 15) - leastLow;
        into[low + 32 + index] = scaleHigh * (value >> 4) - leastHigh;
      }
    }
  }
}

/** As Q4_K, with 32 bytes of fifth bits (bit g of byte i belongs to value i of group g) before the 4-bit values. */
function dequantizeQ5K(bytes: Uint8Array, count: number, into: Float32Array, start: number): void {
  for (let block = 0, at = 0, to = start; block < count; block++, at += 176, to += 256) {
    const d = half[bytes[at] | (bytes[at + 1] << 8)];
    const m = half[bytes[at + 2] | (bytes[at + 3] << 8)];
    for (let pair = 0; pair < 4; pair++) {
      const scaleLow = d * scaleOf(bytes, at + 4, 2 * pair);
      const leastLow = m * leastOf(bytes, at + 4, 2 * pair);
      const scaleHigh = d * scaleOf(bytes, at + 4, 2 * pair + 1);
      const leastHigh = m * leastOf(bytes, at + 4, 2 * pair + 1);
      const from = at + 48 + pair * 32;
      const low = to + pair * 64;
      for (let index = 0; index < 32; index++) {
        const value = bytes[from + index];
        const fifth = bytes[at + 16 + index] >> (2 * pair);
        into[low + index] = scaleLow * ((value & 15) | ((fifth & 1) << 4)) - leastLow;
        into[low + 32 + index] = scaleHigh * ((value >> 4) | ((fifth & 2) << 3)) - leastHigh;
      }
    }
  }
}

/** 128 bytes of low 4 bits, 64 of high 2 bits, 16 signed scales for groups of 16, d: x = d s (q − 32). */
function dequantizeQ6K(bytes: Uint8Array, count: number, into: Float32Array, start: number): void {
  for (let block = 0, at = 0, to = start; block < count; block++, at += 210, to += 256) {
    const d = half[bytes[at + 208] | (bytes[at + 209] << 8)];
    for (let side = 0; side < 2; side++) {
      const low = at + side * 64;
      const high = at + 128 + side * 32;
      const scales = at + 192 + side * 8;
      const out = to + side * 128;
      for (let index = 0; index < 32; index++) {
        const group = scales + (index >> 4);
        const top = bytes[high + index];
        const first = bytes[low + index];
        const second = bytes[low + 32 + index];
        into[out + index] = d * ((bytes[group] << 24) >> 24) * (((first & 15) | ((top & 3) << 4)) - 32);
        into[out + 32 + index] = d * ((bytes[group + 2] << 24) >> 24) * (((second & 15) | ((top & 12) << 2)) - 32);
        into[out + 64 + index] = d * ((bytes[group + 4] << 24) >> 24) * (((first >> 4) | (top & 48)) - 32);
        into[out + 96 + index] = d * ((bytes[group + 6] << 24) >> 24) * (((second >> 4) | ((top & 192) >> 2)) - 32);
      }
    }
  }
}

/** By the format's name in `GGML_TYPES`. */
export const BLOCK_FORMATS: Readonly<Record<string, BlockFormat>> = {
  Q4_0: { number: 2, blockSize: 32, blockBytes: 18, dequantize: dequantizeQ40 },
  Q4_1: { number: 3, blockSize: 32, blockBytes: 20, dequantize: dequantizeQ41 },
  Q5_0: { number: 6, blockSize: 32, blockBytes: 22, dequantize: dequantizeQ50 },
  Q5_1: { number: 7, blockSize: 32, blockBytes: 24, dequantize: dequantizeQ51 },
  Q8_0: { number: 8, blockSize: 32, blockBytes: 34, dequantize: dequantizeQ80 },
  Q4_K: { number: 12, blockSize: 256, blockBytes: 144, dequantize: dequantizeQ4K },
  Q5_K: { number: 13, blockSize: 256, blockBytes: 176, dequantize: dequantizeQ5K },
  Q6_K: { number: 14, blockSize: 256, blockBytes: 210, dequantize: dequantizeQ6K },
};

/** Every tensor type of the format: name, values of a block, bytes of a block. Those without a reader are refused by name. */
export const GGML_TYPES: Readonly<Record<number, readonly [name: string, blockSize: number, blockBytes: number]>> = {
  0: ['F32', 1, 4],
  1: ['F16', 1, 2],
  2: ['Q4_0', 32, 18],
  3: ['Q4_1', 32, 20],
  6: ['Q5_0', 32, 22],
  7: ['Q5_1', 32, 24],
  8: ['Q8_0', 32, 34],
  9: ['Q8_1', 32, 40],
  10: ['Q2_K', 256, 84],
  11: ['Q3_K', 256, 110],
  12: ['Q4_K', 256, 144],
  13: ['Q5_K', 256, 176],
  14: ['Q6_K', 256, 210],
  15: ['Q8_K', 256, 292],
  16: ['IQ2_XXS', 256, 66],
  17: ['IQ2_XS', 256, 74],
  18: ['IQ3_XXS', 256, 98],
  19: ['IQ1_S', 256, 50],
  20: ['IQ4_NL', 32, 18],
  21: ['IQ3_S', 256, 110],
  22: ['IQ2_S', 256, 82],
  23: ['IQ4_XS', 256, 136],
  24: ['I8', 1, 1],
  25: ['I16', 1, 2],
  26: ['I32', 1, 4],
  27: ['I64', 1, 8],
  28: ['F64', 1, 8],
  29: ['IQ1_M', 256, 56],
  30: ['BF16', 1, 2],
  34: ['TQ1_0', 256, 54],
  35: ['TQ2_0', 256, 66],
  39: ['MXFP4', 32, 17],
  40: ['NVFP4', 64, 36],
};
