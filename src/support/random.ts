import { createHash } from 'node:crypto';
import { invariant } from './errors.js';

/** A stream of random numbers. The same seed gives the same numbers on every machine. */
export type Random = {
  /** Uniform on [0, 1), a multiple of 2^-53. */
  uniform(): number;
  /** Standard normal (mean 0, variance 1), by Box-Muller. */
  normal(): number;
  /** Uniform on the integers 0 .. bound - 1. */
  integer(bound: number): number;
  /** Where the stream stands: plain JSON, for `restoreRandom`. */
  state(): RandomState;
};

export type RandomState = {
  /** The two 32-bit words of the Philox key. */
  readonly key: readonly [number, number];
  /** How many uniforms were drawn. */
  readonly drawn: number;
  /** The second number of a Box-Muller pair that waits to be given out. */
  readonly spareNormal: number | null;
};

// The fourth counter word keeps the numbers of a stream and those of `uniformAt` apart under one seed.
const STREAM = 0;
const INDEXED = 1;

const block = new Uint32Array(4);

/**
 * A stream of random numbers from a seed. The generator is Philox 4x32-10, a function of (key, counter), so that its state
 * is a position and `uniformAt` needs none. A number and its decimal notation are the same seed.
 * @see Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011
 */
export function createRandom(seed: number | string): Random {
  return restoreRandom({ key: keyOf(seed), drawn: 0, spareNormal: null });
}

/** Continues a stream exactly where `state()` was taken. */
export function restoreRandom(state: RandomState): Random {
  const [key0, key1] = state.key;
  let { drawn, spareNormal } = state;
  let second = 0; // the second uniform of the current block
  if (drawn % 2 === 1) drawBlock((drawn - 1) / 2);

  /** Returns the first uniform of a block and keeps the second. */
  function drawBlock(index: number): number {
    philox(key0, key1, index, STREAM);
    second = toUniform(block[2], block[3]);
    return toUniform(block[0], block[1]);
  }

  function uniform(): number {
    drawn += 1;
    return drawn % 2 === 0 ? second : drawBlock((drawn - 1) / 2);
  }

  function normal(): number {
    if (spareNormal !== null) {
      const value = spareNormal;
      spareNormal = null;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform())); // 1 - u lies in (0, 1]: the logarithm is finite
    const angle = 2 * Math.PI * uniform();
    spareNormal = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  function integer(bound: number): number {
    invariant(
      Number.isSafeInteger(bound) && bound > 0,
      `integer(bound): bound must be a positive integer, got ${bound}`,
    );
    return Math.floor(uniform() * bound); // bias below bound / 2^53
  }

  return { uniform, normal, integer, state: () => ({ key: [key0, key1], drawn, spareNormal }) };
}

/**
 * The number of index `counter` (0 .. 2^53 - 1) under a seed, on [0, 1): a pure function, so that step n of a sequence
 * samples the same token whatever shares its batch. About 0.1 microseconds.
 */
export function uniformAt(seed: number | string, counter: number): number {
  const key = keyOf(seed);
  philox(key[0], key[1], counter, INDEXED);
  return toUniform(block[0], block[1]);
}

/** A seed for a part of the work, from what names it: `deriveSeed(runSeed, rowId, sampleIndex)`. 1 and '1' differ here. */
export function deriveSeed(...parts: (string | number)[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
}

/** A copy of `values` in uniformly random order (Fisher-Yates). */
export function shuffle<T>(values: readonly T[], random: Pick<Random, 'integer'>): T[] {
  const result = [...values];
  for (let index = result.length - 1; index > 0; index--) {
    const other = random.integer(index + 1);
    [result[index], result[other]] = [result[other], result[index]];
  }
  return result;
}

/**
 * Philox 4x32-10: fills `output` with 4 random words for the 128-bit counter (low, high, 0, lane) and the 64-bit key.
 * Exported for the published test vectors.
 */
export function philox4x32(output: Uint32Array, counter: readonly number[], key: readonly number[]): void {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0);
    const high1 = multiplyHigh(0xcd9e8d57, c2);
    const low0 = Math.imul(0xd2511f53, c0);
    const low1 = Math.imul(0xcd9e8d57, c2);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 = (k0 + 0x9e3779b9) | 0;
    k1 = (k1 + 0xbb67ae85) | 0;
  }
  output[0] = c0;
  output[1] = c1;
  output[2] = c2;
  output[3] = c3;
}

const counterWords = [0, 0, 0, 0];
const keyWords = [0, 0];

function philox(key0: number, key1: number, index: number, lane: number): void {
  counterWords[0] = index | 0;
  counterWords[1] = Math.floor(index / 2 ** 32);
  counterWords[3] = lane;
  keyWords[0] = key0;
  keyWords[1] = key1;
  philox4x32(block, counterWords, keyWords);
}

/** The upper 32 bits of the 64-bit product of two unsigned 32-bit numbers, in 16-bit halves. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16); // below 2^32
  const carry = (middle & 0xffff) + aLow * bHigh; // below 2^32
  return (aHigh * bHigh + (middle >>> 16) + (carry >>> 16)) | 0;
}

/** 53 random bits as a number on [0, 1). */
function toUniform(high: number, low: number): number {
  return ((high >>> 5) * 2 ** 26 + (low >>> 6)) * 2 ** -53;
}

const keys = new Map<number | string, readonly [number, number]>();

/** The key of a seed; kept for recent seeds, since `uniformAt` is called with the same few over and over. */
function keyOf(seed: number | string): readonly [number, number] {
  const known = keys.get(seed);
  if (known) return known;
  const digest = createHash('sha256').update(String(seed)).digest();
  const key = [digest.readUInt32LE(0), digest.readUInt32LE(4)] as const;
  if (keys.size >= 4096) keys.clear();
  keys.set(seed, key);
  return key;
}
