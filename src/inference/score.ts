/** How probable a model finds given tokens. */
import type { LanguageModel } from '../model/language-model.js';
import { ConfigError, DataError } from '../support/errors.js';
import { powerOfTwoAtMost } from './buckets.js';
import { checkTokens } from './request.js';
import { type BoundScores, bindChunks, bindWholeRows, noScores, type RowScores } from './score-runner.js';

export interface ScoreRow {
  readonly id: string;
  readonly tokens: readonly number[];
}

export interface ScoredRow extends ScoreRow {
  /** ln p(tokens[t] | tokens before t); the first token has none. */
  readonly logprobs: readonly (number | null)[];
  /** The likeliest ids at each position with their log-probabilities, likeliest first; there if they were asked for. */
  readonly top?: readonly (readonly (readonly [id: number, logprob: number])[] | null)[];
}

export interface ScorerOptions {
  /** Longer rows go through a cache in chunks, without a T × T matrix; default 512. */
  readonly maxWholeRow?: number | undefined;
  /** Most tokens of those chunks; default 256. */
  readonly chunkSize?: number | undefined;
}

export interface ScoreOptions {
  /** Likeliest tokens reported at each position; default 0. */
  readonly topK?: number | undefined;
  /** Stops between two runs; `score` then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface Scorer {
  /**
   * Scores rows, similar lengths together; the results are in the order of `rows`. Errors: DataError naming the row for no
   * tokens, ids outside the vocabulary or more tokens than the context.
   */
  score(rows: readonly ScoreRow[], options?: ScoreOptions): Promise<ScoredRow[]>;
  /** Throws what `score` would throw for this row. */
  check(row: ScoreRow): void;
}

/** Elements of the largest [N, V] tensor, 128 MiB; log-probabilities take as much again. */
const MAX_LOGITS = 2 ** 25;
/** Tokens of a run, padding included. */
const MAX_TOKENS = 2048;
/** Lengths that rows are padded to: multiples of 16, 32 and 64, so that at most a quarter of a longer row is padding. */
const WHOLE_TIMES = [
  16, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 2048,
];

/** A scorer; it holds no memory between calls. */
export function createScorer(model: LanguageModel, options: ScorerOptions = {}): Scorer {
  const { config } = model;
  const { maxWholeRow = 512, chunkSize = 256 } = options;
  const maxPositionsAtOnce = Math.max(2, Math.floor(MAX_LOGITS / config.vocabSize));
  const chunkTime = powerOfTwoAtMost(Math.max(2, Math.min(chunkSize, maxPositionsAtOnce)));
  const times = WHOLE_TIMES.filter((time) => time <= Math.min(maxWholeRow, maxPositionsAtOnce));
  /** Padded length of a row, undefined for one that goes through the cache. The last token is only a target. */
  const timeOf = ({ tokens }: ScoreRow) => times.find((time) => time >= tokens.length - 1);

  const check = ({ id, tokens }: ScoreRow): void => {
    checkTokens(id, tokens, config);
    if (tokens.length <= config.maxPositions) return;
    throw new DataError(
      `Row '${id}' has ${tokens.length} tokens, but the model's context is ${config.maxPositions}. Shorten the row.`,
    );
  };

  return {
    check,
    async score(rows, { topK = 0, signal } = {}) {
      if (!Number.isInteger(topK) || topK < 0 || topK > config.vocabSize) {
        throw new ConfigError(`topK is ${topK}, expected a whole number from 0 to ${config.vocabSize}.`);
      }
      for (const row of rows) check(row);
      const jobs = rows.map((row) => ({ tokens: row.tokens, time: timeOf(row), scores: noScores() }));
      const scored = jobs.filter(({ tokens }) => tokens.length > 1);
      for (const time of times) {
        const shape = { time, topK, maxBatch: Math.floor(Math.min(MAX_TOKENS, maxPositionsAtOnce) / time) };
        const members = scored.filter((job) => job.time === time);
        await scoreWhole(model, members, shape, signal);
      }
      for (const job of scored.filter(({ time }) => time === undefined)) {
        await scoreInChunks(model, job, { time: chunkTime, topK }, signal);
      }
      return rows.map(({ id, tokens }, index) => {
        const { logprobs, top } = jobs[index].scores;
        return topK === 0 ? { id, tokens, logprobs } : { id, tokens, logprobs, top };
      });
    },
  };
}

interface Job {
  readonly tokens: readonly number[];
  readonly scores: RowScores;
}

async function scoreWhole(
  model: LanguageModel,
  jobs: readonly Job[],
  { time, topK, maxBatch }: { time: number; topK: number; maxBatch: number },
  signal: AbortSignal | undefined,
): Promise<void> {
  const bounds = new Map<number, BoundScores>();
  try {
    for (let start = 0; start < jobs.length; ) {
      signal?.throwIfAborted();
      const batch = powerOfTwoAtMost(Math.min(maxBatch, jobs.length - start));
      const bound = bounds.get(batch) ?? bindWholeRows(model, { batch, time, topK });
      bounds.set(batch, bound);
      const members = jobs.slice(start, start + batch);
      for (const [row, { tokens }] of members.entries()) bound.feed(row, tokens, 0);
      await bound.run();
      for (const [row, { tokens, scores }] of members.entries()) bound.collect(row, tokens.length - 1, scores);
      start += batch;
    }
  } finally {
    for (const bound of bounds.values()) bound.dispose();
  }
}

async function scoreInChunks(
  model: LanguageModel,
  { tokens, scores }: Job,
  { time, topK }: { time: number; topK: number },
  signal: AbortSignal | undefined,
): Promise<void> {
  const numChunks = Math.ceil((tokens.length - 1) / time);
  const chunks = bindChunks(model, { time, capacity: numChunks * time, topK });
  try {
    for (let start = 0; start < tokens.length - 1; start += time) {
      signal?.throwIfAborted();
      await chunks.score(tokens, start, scores);
    }
  } finally {
    chunks.dispose();
  }
}
