/** Sizes are rounded up to few values, because each shape is a graph of its own to compile. */

const BATCHES = [1, 2, 4, 8, 16, 24, 32, 48, 64];
const BATCH_STEP = 32;
const CHUNK_TIMES = [16, 32, 64, 128, 256];

/** The smallest batch that holds `rows` rows. */
export function batchBucket(rows: number): number {
  return BATCHES.find((batch) => batch >= rows) ?? Math.ceil(rows / BATCH_STEP) * BATCH_STEP;
}

/** The shortest padded length of a chunk of `count` tokens, none longer than `chunkSize`. */
export function timeBucket(count: number, chunkSize: number): number {
  return Math.min(CHUNK_TIMES.find((time) => time >= count) ?? chunkSize, chunkSize);
}

/** `start` doubled until it is at least `count`. */
export function doubledTo(count: number, start: number): number {
  let size = start;
  while (size < count) size *= 2;
  return size;
}

/** `count` rounded up to an eighth of the power of two that holds it: at most four sizes an octave. */
export function eighthsTo(count: number): number {
  const step = Math.max(1, doubledTo(count, 1) / 8);
  return Math.ceil(count / step) * step;
}

/** The greatest power of two that is at most `count` (count ≥ 1). */
export function powerOfTwoAtMost(count: number): number {
  return 2 ** Math.floor(Math.log2(count));
}
