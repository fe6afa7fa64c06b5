/** Models derived from others: the first layers of one, trained on solutions or on the teacher's holdout traces. */

import { tokenizerFilesOf } from '../../jobs/train-rows.js';
import { openCheckpoint } from '../../model/checkpoint.js';
import { type LanguageModel, loadModel, mergeLora } from '../../model/language-model.js';
import { ConfigError, DataError } from '../../support/errors.js';
import { type ExampleOptions, encodeExample, type TextRow } from '../../tokenizer/example.js';
import { openTokenizer } from '../../tokenizer/open.js';
import type { Tokenizer } from '../../tokenizer/types.js';
import type { TrainingExample } from '../../training/batches.js';
import { saveTrainedModel } from '../../training/save.js';
import { trainModel } from '../../training/train.js';
import type { BuildContext } from '../task.js';
import type { DeriveConfig } from './config.js';
import { cutConfig } from './models.js';

/** A question with a response to learn. */
export interface SolvedRow {
  readonly id: string;
  readonly row: TextRow;
  readonly response: string;
}

/**
 * Makes a derived model in `context.folder`. `location` is the model it is made from; `rows` are what it is trained on. Errors: those
 * of `openCheckpoint` and `trainModel`; ConfigError for more layers than there are; DataError where there is nothing to learn.
 */
export async function buildDerived(
  derive: DeriveConfig,
  {
    location,
    rows,
    seed,
    encoding,
  }: { location: string; rows: readonly SolvedRow[]; seed: number; encoding: ExampleOptions },
  context: BuildContext,
): Promise<void> {
  const checkpoint = await openCheckpoint(location, context.signal && { signal: context.signal });
  const files = await tokenizerFilesOf(checkpoint);
  let model: LanguageModel;
  try {
    // Only the layers that are kept are read.
    model = loadModel(context.compiler, { ...checkpoint, config: cutConfig(checkpoint.config, derive) });
  } finally {
    checkpoint.dispose();
  }
  try {
    if (derive.train !== undefined) {
      const { on: _on, rows: _rows, ...training } = derive.train;
      if (checkpoint.tokenizerSource === undefined) {
        throw new ConfigError(`${location}: a run needs the model's tokenizer. Put tokenizer.json beside its weights.`);
      }
      const tokenizer = openTokenizer(checkpoint.tokenizerSource);
      const examples = rows.map((row) => exampleOf(tokenizer, row, encoding));
      if (examples.length === 0)
        throw new DataError(`There is nothing to train the model derived from ${location} on.`);
      const config = { ...training, seed, evaluateEverySteps: 0 };
      const result = await trainModel(model, examples, config, {
        folder: context.scratch,
        signal: context.signal,
        onStep: ({ step, totalSteps }) => context.onProgress?.(step / totalSteps),
        ...(context.log && { log: context.log }),
      });
      model = result.model;
      context.signal?.throwIfAborted();
      model = mergeLora(model);
    }
    await saveTrainedModel(context.folder, model, { files, overwrite: true });
  } finally {
    model.dispose();
  }
}

function exampleOf(tokenizer: Tokenizer, { id, row, response }: SolvedRow, encoding: ExampleOptions): TrainingExample {
  const whole =
    row.messages === undefined
      ? { ...row, response }
      : { messages: [...row.messages, { role: 'assistant', content: response }] };
  return { id, ...encodeExample(tokenizer, whole, encoding) };
}
