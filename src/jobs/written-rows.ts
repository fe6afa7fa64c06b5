/** What an output file holds already, and whether the same command wrote it. */
import { existsSync } from 'node:fs';
import { createScorer } from '../inference/score.js';
import type { LanguageModel } from '../model/language-model.js';
import { ConfigError } from '../support/errors.js';
import { type JsonlRow, readJsonl } from '../support/jsonl.js';

/** Rows of an output file; none where there is no file. A last line that was cut off is left out: the appender removes it. */
export async function* readWritten(path: string): AsyncGenerator<JsonlRow> {
  if (existsSync(path)) yield* readJsonl(path, { onTornLine: () => {} });
}

/** How far two computations of one log-probability may lie apart, in nats: threads and machines differ by less than 0.001. */
const SAME_MODEL_NATS = 0.02;

/**
 * Scores a written row again. `logprobs` stand at the end of `tokens`. Errors: ConfigError where another model gave them.
 */
export async function checkSameModel(
  model: LanguageModel,
  { tokens, logprobs, where }: { tokens: readonly number[]; logprobs: readonly (number | null)[]; where: string },
): Promise<void> {
  const [scored] = await createScorer(model).score([{ id: where, tokens }]);
  const start = tokens.length - logprobs.length;
  const index = logprobs.findIndex((value, at) => {
    const now = scored.logprobs[start + at];
    return typeof value === 'number' && now !== null && !(Math.abs(value - now) <= SAME_MODEL_NATS);
  });
  if (index < 0) return;
  throw new ConfigError(
    `${where}: another model wrote this file: the log-probability of token ${start + index} is ${logprobs[index]} there, ` +
      `${scored.logprobs[start + index]} with this model. Name another output, or remove the file.`,
  );
}
