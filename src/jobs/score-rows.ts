/** Rows to log-probabilities: a file in, a file out in the same order, continued where it stopped. */
import type { Precision } from '../engine/onnx/emitter.js';
import { createScorer, type ScoredRow } from '../inference/score.js';
import type { LanguageModel } from '../model/language-model.js';
import { BackendError, ConfigError, DataError } from '../support/errors.js';
import { openJsonlAppender } from '../support/jsonl.js';
import type { EncodedRow } from '../tokenizer/rows.js';
import type { OpenedModel } from './open-model.js';
import { readRows } from './read-rows.js';
import {
  checkSameDeltas,
  createDeltaScorer,
  type DeltaOptions,
  type DeltaScorer,
  type RowDeltas,
} from './score-deltas.js';
import { checkSameModel, readWritten } from './written-rows.js';

export interface ScoreRowsOptions {
  /** Rows or traces (.jsonl). */
  readonly input: string;
  /** Scores (.jsonl); rows that are in it already are not scored again. */
  readonly output: string;
  /** Likeliest tokens reported at each position; default none. */
  readonly topK?: number;
  /** Δ under a proxy, or the distribution after the last token; default neither. */
  readonly deltas?: DeltaOptions | undefined;
  readonly chat?: 'auto' | 'never';
  /** See `readRows`. */
  readonly chatDate?: string | undefined;
  readonly signal?: AbortSignal;
  readonly onStart?: (plan: { numRows: number; numDone: number }) => void;
  readonly onRows?: (numRows: number) => void;
  readonly log?: (message: string) => void;
}

export interface ScoreSummary {
  readonly output: string;
  readonly precision: Precision;
  readonly numRows: number;
  /** Response tokens of the rows scored now, and their mean negative log-probability; null where there was nothing to score. */
  readonly numResponseTokens: number;
  readonly lossNats: number | null;
}

/** Tokens scored together, similar lengths in one batch; the output is written after each such window. */
const WINDOW_TOKENS = 4096;

/**
 * Scores every row of a file. Errors: DataError for wrong rows, before any work; ConfigError where the output holds scores of
 * other rows, of another `topK`, of another model or with other deltas.
 */
export async function scoreRows(opened: OpenedModel, options: ScoreRowsOptions): Promise<ScoreSummary> {
  const { deltas } = options;
  const deltaScorer = deltas === undefined ? undefined : createDeltaScorer(opened, deltas);
  try {
    return await scoreWith(deltaScorer, opened, options);
  } finally {
    deltaScorer?.dispose();
  }
}

async function scoreWith(
  deltaScorer: DeltaScorer | undefined,
  { model, tokenizer }: OpenedModel,
  options: ScoreRowsOptions,
): Promise<ScoreSummary> {
  const { topK = 0, signal } = options;
  const rows = await readRows(options.input, {
    ...options,
    tokenizer,
    vocabSize: model.config.vocabSize,
    repeatedIds: 'samples',
  });
  const scorer = createScorer(model);
  for (const row of rows) {
    scorer.check(namedRow(row));
    deltaScorer?.check(namedRow(row));
  }
  const numDone = await countScored(model, rows, { path: options.output, topK, deltaScorer });
  options.onStart?.({ numRows: rows.length, numDone });
  if (numDone > 0) options.log?.(`${options.output} holds ${numDone} of ${rows.length} rows already.`);
  const onTornLine = ({ line }: { line: number }) =>
    options.log?.(`${options.output}:${line}: the last line was cut off; its row is scored again.`);
  const appender = await openJsonlAppender(options.output, { onTornLine });
  const sum = { numTokens: 0, nats: 0 };
  try {
    for (const window of windowsOf(rows.slice(numDone))) {
      const named = window.map(namedRow);
      const scored = await scorer.score(named, { topK, signal });
      const further = await deltaScorer?.score(named, { topK, signal });
      scored.forEach((score, index) => {
        const { id } = window[index];
        checkNumbers(score.logprobs, `Row '${id}': the model's logits are not finite. Are its weights sound?`);
        const deltas = [...(further?.[index].delta ?? []), ...(further?.[index].probabilities ?? [])];
        checkNumbers(deltas, `Row '${id}': Δ is not finite. Is the step (--epsilon) too long, or λ?`);
        appender.append({ ...score, id, precision: model.compiler.precision, ...further?.[index] });
        addResponse(sum, window[index], score.logprobs);
      });
      options.onRows?.(window.length);
    }
  } finally {
    appender.close();
  }
  const lossNats = sum.numTokens === 0 ? null : sum.nats / sum.numTokens;
  return {
    output: options.output,
    precision: model.compiler.precision,
    numRows: rows.length,
    numResponseTokens: sum.numTokens,
    lossNats,
  };
}

/** Refuses what a row of JSON would show as null. An impossible token has −∞, which is a number. */
function checkNumbers(values: readonly (number | null)[], problem: string): void {
  if (values.some(Number.isNaN)) throw new BackendError(problem);
}

const namedRow = ({ id, tokens }: EncodedRow) => ({ id: String(id), tokens });

/** Consecutive rows of about `WINDOW_TOKENS` tokens. */
function windowsOf(rows: readonly EncodedRow[]): EncodedRow[][] {
  const windows: EncodedRow[][] = [];
  let numTokens = WINDOW_TOKENS;
  for (const row of rows) {
    if (numTokens + row.tokens.length > WINDOW_TOKENS) {
      windows.push([]);
      numTokens = 0;
    }
    windows.at(-1)!.push(row);
    numTokens += row.tokens.length;
  }
  return windows;
}

/** Mean −ln p of response tokens. Errors: DataError where the rows hold none; the signal's reason where it is aborted. */
export async function responseLoss(
  model: LanguageModel,
  rows: readonly EncodedRow[],
  signal?: AbortSignal,
): Promise<{ numTokens: number; lossNats: number }> {
  const scored = await createScorer(model).score(rows.map(namedRow), { signal });
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
async function countScored(
  model: LanguageModel,
  rows: readonly EncodedRow[],
  { path, topK, deltaScorer }: { path: string; topK: number; deltaScorer: DeltaScorer | undefined },
): Promise<number> {
  let count = 0;
  let isChecked = false;
  for await (const { row, line } of readWritten(path)) {
    const stored = (row ?? {}) as Partial<ScoredRow> & RowDeltas & { readonly precision?: Precision };
    // Rows that name no precision come from before there was another.
    const { id, tokens, top, logprobs, precision = 'float32' } = stored;
    const expected = rows[count];
    const isSame =
      expected !== undefined && id === expected.id && JSON.stringify(tokens) === JSON.stringify(expected.tokens);
    const storedK = Array.isArray(top) ? (top[1]?.length ?? topK) : 0;
    if (!isSame || storedK !== topK) {
      throw new ConfigError(
        `${path}:${line}: this file holds scores of other rows${isSame ? ` (top-k ${storedK}, now ${topK})` : ''}. Name another output, or remove the file.`,
      );
    }
    if (precision !== model.compiler.precision) {
      throw new ConfigError(
        `${path}:${line}: this file holds scores computed in ${precision}, now in ${model.compiler.precision} (precision). Name another output, or remove the file.`,
      );
    }
    if (!isChecked && expected.tokens.length > 1 && logprobs?.length === expected.tokens.length) {
      const where = `${path}:${line}`;
      await checkSameModel(model, { tokens: expected.tokens, logprobs, where });
      await checkSameDeltas(deltaScorer, { row: namedRow(expected), stored, where });
      isChecked = true;
    }
    count++;
  }
  return count;
}
