/** Rows to batches: checked, shuffled by seed and epoch, grouped by length so that little is padding. */
import { DataError, invariant } from '../support/errors.js';
import { createRandom, deriveSeed, shuffle } from '../support/random.js';

/** A row to learn from: the loss counts tokens from `responseStart` on. */
export interface TrainingExample {
  /** For messages. */
  readonly id: string;
  readonly tokens: readonly number[];
  readonly responseStart: number;
  /** What each token counts in the loss, one number a token; those before `responseStart` count nothing. Default 1 each. */
  readonly weights?: readonly number[] | undefined;
}

export interface PreparedExamples {
  readonly examples: readonly TrainingExample[];
  readonly numTruncated: number;
  /** Rows left out because no response token is in them (any more). */
  readonly numWithoutResponse: number;
}

/** Where in the data a run stands: the next batch. Order follows from seed and epoch alone. */
export interface DataPosition {
  readonly seed: number;
  readonly epoch: number;
  readonly batchIndex: number;
}

/** Rows (by index) computed at once, padded on the right to `time` tokens, and below by rows without weight to `batch` rows. */
export interface MicroBatch {
  readonly rows: readonly number[];
  readonly batch: number;
  readonly time: number;
}

/** Batches that are sorted by length together: longer windows pad less, shorter ones mix better. */
const WINDOW_BATCHES = 16;

/**
 * Checks rows against the model and cuts or refuses those beyond `maxLength`.
 * Errors: DataError naming the row for an id outside the vocabulary, a wrong responseStart or (`overlong: 'refuse'`) too many
 * tokens; DataError where no row is left.
 */
export function prepareExamples(
  rows: readonly TrainingExample[],
  options: { vocabSize: number; maxLength: number; overlong: 'refuse' | 'truncate' },
): PreparedExamples {
  if (rows.length === 0) throw new DataError('There are no rows to train on: the dataset is empty.');
  let numTruncated = 0;
  const checked = rows.map((row) => {
    checkRow(row, options.vocabSize);
    if (row.tokens.length <= options.maxLength) return row;
    if (options.overlong === 'refuse')
      throw new DataError(
        `Row "${row.id}" has ${row.tokens.length} tokens; at most ${options.maxLength} are allowed (maxLength, and the model's context). Shorten it, or set overlong to truncate.`,
      );
    numTruncated += 1;
    const { tokens, weights } = row;
    const cut = (values: readonly number[]) => values.slice(0, options.maxLength);
    return { ...row, tokens: cut(tokens), ...(weights && { weights: cut(weights) }) };
  });
  const examples = checked.filter((row) => numResponseTokens(row) > 0);
  if (examples.length === 0)
    throw new DataError(
      `None of the ${rows.length} rows has a response token to learn from: responseStart must lie before the last token${numTruncated > 0 ? `, and ${numTruncated} rows were cut at ${options.maxLength} tokens` : ''}.`,
    );
  return { examples, numTruncated, numWithoutResponse: rows.length - examples.length };
}

function checkRow({ id, tokens, responseStart, weights }: TrainingExample, vocabSize: number): void {
  const wrong = tokens.findIndex((token) => !Number.isInteger(token) || token < 0 || token >= vocabSize);
  if (wrong !== -1)
    throw new DataError(
      `Row "${id}": token ${wrong} is ${tokens[wrong]}; the vocabulary has ids 0 to ${vocabSize - 1}. Was the row made with another tokenizer?`,
    );
  if (!Number.isInteger(responseStart) || responseStart < 0 || responseStart > tokens.length)
    throw new DataError(
      `Row "${id}": responseStart is ${responseStart}; expected a whole number from 0 to ${tokens.length}, its number of tokens.`,
    );
  if (weights === undefined) return;
  if (weights.length !== tokens.length || !weights.every((weight) => weight >= 0 && Number.isFinite(weight)))
    throw new DataError(
      `Row "${id}": weights must be ${tokens.length} numbers of at least 0, one for each token; got ${weights.length}.`,
    );
}

/** Tokens of a row that the loss counts; the very first has nothing to be predicted from. */
export function numResponseTokens({ tokens, responseStart }: TrainingExample): number {
  return Math.max(0, tokens.length - Math.max(1, responseStart));
}

/** What a row counts in the loss: its response tokens, or the sum of their weights. */
export function lossWeight(example: TrainingExample): number {
  const { weights, responseStart } = example;
  if (weights === undefined) return numResponseTokens(example);
  return weights.slice(Math.max(1, responseStart)).reduce((sum, weight) => sum + weight, 0);
}

/** Optimiser steps of an epoch. */
export const batchesPerEpoch = (numExamples: number, batchSize: number): number => Math.ceil(numExamples / batchSize);

/**
 * The batches of an epoch as row indices; every row once. A pure function of its arguments: rows shuffled by (seed, epoch),
 * sorted by length within windows, cut into batches, the batches of a window shuffled.
 */
export function epochBatches(
  examples: readonly TrainingExample[],
  { batchSize, seed, epoch }: { batchSize: number; seed: number; epoch: number },
): number[][] {
  const random = createRandom(deriveSeed(seed, 'epoch', epoch));
  const order = shuffle(
    examples.map((_, index) => index),
    random,
  );
  const windowRows = batchSize * WINDOW_BATCHES;
  const batches: number[][] = [];
  for (let start = 0; start < order.length; start += windowRows) {
    const window = order
      .slice(start, start + windowRows)
      .sort((a, b) => examples[a].tokens.length - examples[b].tokens.length || a - b);
    const cut = Array.from({ length: Math.ceil(window.length / batchSize) }, (_, index) =>
      window.slice(index * batchSize, (index + 1) * batchSize),
    );
    batches.push(...shuffle(cut, random));
  }
  return batches;
}

/** The position after one batch. */
export function nextPosition({ seed, epoch, batchIndex }: DataPosition, numBatches: number): DataPosition {
  return batchIndex + 1 < numBatches
    ? { seed, epoch, batchIndex: batchIndex + 1 }
    : { seed, epoch: epoch + 1, batchIndex: 0 };
}

/** Time of the graph that takes a row of n predictions: the next multiple of 16 up to 128, of 64 above. */
export function timeBucket(numPredictions: number): number {
  const multiple = numPredictions <= 128 ? 16 : 64;
  return Math.max(multiple, Math.ceil(numPredictions / multiple) * multiple);
}

/** Rows of the graph that takes n: 1, 2, 3, 4, 6, 8, 12, 16, 24 …, so that few graphs serve all. */
function rowBucket(numRows: number): number {
  const power = 2 ** Math.floor(Math.log2(numRows));
  if (numRows === power) return power;
  return numRows <= 1.5 * power ? 1.5 * power : 2 * power;
}

/**
 * Splits the rows of an optimiser step, the longest first, so that each part has at most `maxTokens` tokens, padding included
 * (a single row may have more).
 */
export function planMicroBatches(
  examples: readonly TrainingExample[],
  rows: readonly number[],
  maxTokens: number,
): MicroBatch[] {
  return planLengths(
    examples.map(({ tokens }) => tokens.length - 1),
    rows,
    maxTokens,
  );
}

/** The same of rows that are `lengths[row]` positions long. */
export function planLengths(lengths: readonly number[], rows: readonly number[], maxTokens: number): MicroBatch[] {
  const sorted = [...rows].sort((a, b) => lengths[b] - lengths[a] || a - b);
  const parts: MicroBatch[] = [];
  for (let start = 0; start < sorted.length; ) {
    const time = timeBucket(lengths[sorted[start]]);
    const most = Math.max(1, Math.floor(maxTokens / time));
    const part = sorted.slice(start, start + most);
    parts.push({ rows: part, batch: Math.min(most, rowBucket(part.length)), time });
    start += part.length;
  }
  return parts;
}

/**
 * Writes a micro-batch into memory of B·T elements each: tokens, the token that follows each, and its weight in the loss:
 * `tokenWeight` (times its own, where the row has weights) for response tokens, 0 for all else.
 */
export function fillMicroBatch(
  examples: readonly TrainingExample[],
  { rows, batch, time }: MicroBatch,
  { arrays, tokenWeight }: { arrays: BatchArrays; tokenWeight: number },
): void {
  const { tokens, targets, weights } = arrays;
  invariant(tokens.length === batch * time, `a batch of ${batch} × ${time} does not fit its memory`);
  tokens.fill(0n);
  targets.fill(0n);
  weights.fill(0);
  rows.forEach((row, at) => {
    const { tokens: ids, responseStart, weights: own } = examples[row];
    for (let index = 0; index + 1 < ids.length; index++) {
      tokens[at * time + index] = BigInt(ids[index]);
      targets[at * time + index] = BigInt(ids[index + 1]);
      weights[at * time + index] = index + 1 >= responseStart ? tokenWeight * (own?.[index + 1] ?? 1) : 0;
    }
  });
}

export interface BatchArrays {
  readonly tokens: BigInt64Array;
  readonly targets: BigInt64Array;
  readonly weights: Float32Array;
}

/** Writes the tokens of a micro-batch alone, every one of a row (`time` at most), padded with 0. */
export function fillTokens(
  examples: readonly Pick<TrainingExample, 'tokens'>[],
  { rows, time }: MicroBatch,
  tokens: BigInt64Array,
): void {
  tokens.fill(0n);
  rows.forEach((row, at) => {
    examples[row].tokens.slice(0, time).forEach((token, index) => {
      tokens[at * time + index] = BigInt(token);
    });
  });
}
