/** Rows to log-probabilities: a file in, a file out in the same order, continued where it stopped. */
import { existsSync } from 'node:fs';
import { createScorer } from '../inference/score.js';
import type { LanguageModel } from '../model/language-model.js';
import { ConfigError, DataError } from '../support/errors.js';
import { openJsonlAppender, readJsonl } from '../support/jsonl.js';
import type { EncodedRow } from '../tokenizer/rows.js';
import type { OpenedModel } from './open-model.js';
import { readRows } from './read-rows.js';

export interface ScoreRowsOptions {
  /** Rows or traces (.jsonl). */
  readonly input: string;
  /** Scores (.jsonl); rows that are in it already are not scored again. */
  readonly output: string;
  /** Likeliest tokens reported at each position; default none. */
  readonly topK?: number;
  readonly chat?: 'auto' | 'never';
  readonly signal?: AbortSignal;
  readonly onStart?: (plan: { numRows: number; numDone: number }) => void;
  readonly onRows?: (numRows: number) => void;
  readonly log?: (message: string) => void;
}

export interface ScoreSummary {
  readonly output: string;
  readonly numRows: number;
  /** Response tokens of the rows scored now, and their mean negative log-probability; null where there was nothing to score. */
  readonly numResponseTokens: number;
  readonly lossNats: number | null;
}

/** Rows scored together, similar lengths in one batch; the output is written after each such window. */
const WINDOW_ROWS = 256;

/**
 * Scores every row of a file. Errors: DataError for wrong rows, before any work; ConfigError where the output holds scores of
 * other rows or of another `topK`.
 */
export async function scoreRows({ model, tokenizer }: OpenedModel, options: ScoreRowsOptions): Promise<ScoreSummary> {
  const { topK = 0, signal } = options;
  const rows = await readRows(options.input, { ...options, tokenizer, vocabSize: model.config.vocabSize });
  const scorer = createScorer(model);
  for (const row of rows) scorer.check({ ...row, id: String(row.id) });
  const numDone = await countScored(options.output, rows, topK);
  options.onStart?.({ numRows: rows.length, numDone });
  if (numDone > 0) options.log?.(`${options.output} holds ${numDone} of ${rows.length} rows already.`);
  const appender = await openJsonlAppender(options.output);
  const sum = { numTokens: 0, nats: 0 };
  try {
    for (let start = numDone; start < rows.length; start += WINDOW_ROWS) {
      const window = rows.slice(start, start + WINDOW_ROWS);
      const scored = await scorer.score(
        window.map((row) => ({ id: String(row.id), tokens: row.tokens })),
        { topK, ...(signal && { signal }) },
      );
      scored.forEach((score, index) => {
        appender.append({ ...score, id: window[index].id });
        addResponse(sum, window[index], score.logprobs);
      });
      options.onRows?.(window.length);
    }
  } finally {
    appender.close();
  }
  const lossNats = sum.numTokens === 0 ? null : sum.nats / sum.numTokens;
  return { output: options.output, numRows: rows.length, numResponseTokens: sum.numTokens, lossNats };
}

/** Mean −ln p of response tokens. Errors: DataError where the rows hold none. */
export async function responseLoss(
  model: LanguageModel,
  rows: readonly EncodedRow[],
): Promise<{ numTokens: number; lossNats: number }> {
  const scored = await createScorer(model).score(rows.map((row) => ({ id: String(row.id), tokens: row.tokens })));
  const sum = { numTokens: 0, nats: 0 };
  for (const [index, { logprobs }] of scored.entries()) addResponse(sum, rows[index], logprobs);
  if (sum.numTokens === 0) throw new DataError('None of the rows has a response token to measure a loss on.');
  return { numTokens: sum.numTokens, lossNats: sum.nats / sum.numTokens };
}

function addResponse(
  sum: { numTokens: number; nats: number },
  { responseStart }: EncodedRow,
  logprobs: readonly (number | null)[],
): void {
  for (let index = Math.max(1, responseStart); index < logprobs.length; index++) {
    sum.numTokens++;
    sum.nats -= logprobs[index]!;
  }
}

/** Rows at the head of the output that are the first rows of the input, scored in the same way. */
async function countScored(path: string, rows: readonly EncodedRow[], topK: number): Promise<number> {
  if (!existsSync(path)) return 0;
  let count = 0;
  for await (const { row, line } of readJsonl(path, { onTornLine: () => {} })) {
    const { id, tokens, top } = row as { id?: unknown; tokens?: number[]; top?: unknown[] };
    const expected = rows[count];
    const isSame =
      expected !== undefined && id === expected.id && JSON.stringify(tokens) === JSON.stringify(expected.tokens);
    const storedK = Array.isArray(top) ? ((top[1] as unknown[] | undefined)?.length ?? topK) : 0;
    if (!isSame || storedK !== topK) {
      throw new ConfigError(
        `${path}:${line}: this file holds scores of other rows${isSame ? ` (top-k ${storedK}, now ${topK})` : ''}. Name another output, or remove the file.`,
      );
    }
    count++;
  }
  return count;
}
