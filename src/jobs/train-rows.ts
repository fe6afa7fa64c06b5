/** Rows to a trained model: checkpoints on the way, the finished model in the folder at the end. */
import { existsSync, readdirSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Compiler } from '../engine/compiler.js';
import type { Checkpoint } from '../model/checkpoint.js';
import { readConfig } from '../model/checkpoint.js';
import { createModel, type LanguageModel, mergeLora } from '../model/language-model.js';
import { ConfigError, DataError } from '../support/errors.js';
import { writeFileAtomic } from '../support/files.js';
import { sha256OfJson } from '../support/hash.js';
import { createRandom, deriveSeed } from '../support/random.js';
import { ggufTokenizerFiles } from '../tokenizer/gguf.js';
import type { EncodedRow } from '../tokenizer/rows.js';
import type { Tokenizer } from '../tokenizer/types.js';
import type { TrainingExample } from '../training/batches.js';
import type { TrainingConfig } from '../training/config.js';
import { saveTrainedModel } from '../training/save.js';
import { type StepReport, trainModel } from '../training/train.js';
import { compilerFor, type OpenModelOptions, openCheckpointTokenizer, openModel } from './open-model.js';
import { readRows } from './read-rows.js';
import { responseLoss } from './score-rows.js';

export interface TrainRowsOptions extends OpenModelOptions {
  /** Model to train on from; with `init`, only its tokenizer is used, and it may be left out. */
  readonly model?: string | undefined;
  /** config.json of a model to train from scratch. */
  readonly init?: string | undefined;
  /** Rows or traces (.jsonl). */
  readonly traces: string;
  /** Rows whose loss is measured before and after. */
  readonly validation?: string | undefined;
  /** Folder of the trained model (of the adapter, with `config.lora` and no `merge`). */
  readonly output: string;
  /** Adds adapters into the weights and writes a whole model. */
  readonly merge?: boolean;
  readonly chat?: 'auto' | 'never';
  readonly config: TrainingConfig;
  readonly onStep?: (report: StepReport) => void;
  readonly log?: (message: string) => void;
}

export interface TrainRowsResult {
  readonly output: string;
  readonly numRows: number;
  readonly numSteps: number;
  /** Response tokens learned from. */
  readonly numTokens: number;
  /** Of the last step; null where nothing was left to do. */
  readonly trainingLossNats: number | null;
  /** Mean nats per response token of the validation rows; null without any. */
  readonly validation: { readonly lossNatsBefore: number; readonly lossNatsAfter: number } | null;
  /** False where it was stopped; run again to continue. */
  readonly isComplete: boolean;
}

const RECORD = 'training.json';
const CHECKPOINTS = 'checkpoints';

/**
 * Trains on the response tokens of a file. Stopped, it continues from its last checkpoint when called again; finished, it
 * returns at once. Errors: those of `openModel`, `readRows` and `trainModel`; ConfigError where the folder holds something else.
 */
export async function trainRows(options: TrainRowsOptions): Promise<TrainRowsResult> {
  const { config, output, log } = options;
  if (options.model === undefined && options.init === undefined) {
    throw new ConfigError('Name a model to train (model), or a config.json to train one from scratch (init).');
  }
  if (options.merge === true && config.lora === undefined) {
    throw new ConfigError('merge adds LoRA adapters into the weights; without lora there is nothing to merge.');
  }
  const identity = sha256OfJson(identityOf(options));
  const finished = await finishedRun(output, identity);
  if (finished !== undefined) {
    log?.(`${output} is finished already.`);
    return finished;
  }
  const { compiler, release } = compilerFor(options);
  const start = await startingPoint(options, compiler);
  try {
    const read = { ...options, tokenizer: start.tokenizer, vocabSize: start.model.config.vocabSize };
    const rows = await readRows(options.traces, { ...read, allowRepeatedIds: true });
    const validation =
      options.validation === undefined
        ? undefined
        : await readRows(options.validation, { ...read, allowRepeatedIds: true });
    const measure = async (model: LanguageModel): Promise<number | undefined> =>
      validation === undefined ? undefined : (await responseLoss(model, validation)).lossNats;

    const lossNatsBefore = await measureOnce(join(output, 'validation-before.json'), identity, () =>
      measure(start.model),
    );
    const result = await trainModel(start.model, rows.map(exampleOf), config, {
      folder: output,
      signal: options.signal,
      ...(options.onStep && { onStep: options.onStep }),
      ...(log && { log }),
    });
    start.model = result.model;
    const summary = {
      output,
      numRows: rows.length,
      numSteps: result.numSteps,
      numTokens: result.numTokens,
      trainingLossNats: result.lossNats ?? null,
      isComplete: result.isComplete,
    };
    if (!result.isComplete) return { ...summary, validation: null };
    const lossNatsAfter = await measure(result.model);
    const model = options.merge === true ? mergeLora(result.model) : result.model;
    start.model = model;
    await saveTrainedModel(output, model, { baseModel: options.model, files: start.files, overwrite: true });
    const done: TrainRowsResult = {
      ...summary,
      validation:
        lossNatsBefore === undefined || lossNatsAfter === undefined ? null : { lossNatsBefore, lossNatsAfter },
    };
    await writeFileAtomic(
      join(output, RECORD),
      `${JSON.stringify({ schemaVersion: 1, identity, config, result: done }, null, 2)}\n`,
    );
    await rm(join(output, CHECKPOINTS), { recursive: true, force: true });
    await rm(join(output, 'validation-before.json'), { force: true });
    return done;
  } finally {
    start.model.dispose();
    release();
  }
}

/** What makes two calls the same run. */
function identityOf({ model, init, traces, validation, merge, chat, config }: TrainRowsOptions): unknown {
  return {
    model: model ?? null,
    init: init ?? null,
    traces,
    validation: validation ?? null,
    merge: merge ?? false,
    chat: chat ?? 'auto',
    config,
  };
}

const exampleOf = ({ id, tokens, responseStart }: EncodedRow): TrainingExample => ({
  id: String(id),
  tokens,
  responseStart,
});

/** The result of a run that this folder holds whole. A folder that holds anything but such a run is refused. */
async function finishedRun(output: string, identity: string): Promise<TrainRowsResult | undefined> {
  if (!existsSync(output)) return undefined;
  const record = join(output, RECORD);
  if (existsSync(record)) {
    const stored = JSON.parse(await readFile(record, 'utf8')) as { identity: string; result: TrainRowsResult };
    if (stored.identity === identity) return stored.result;
    throw new ConfigError(
      `${output}: this folder holds a model trained with other settings or rows. Name another output.`,
    );
  }
  const others = readdirSync(output).filter((name) => name !== CHECKPOINTS && name !== 'validation-before.json');
  if (others.length > 0) {
    throw new ConfigError(
      `${output}: the folder holds other things (${others.slice(0, 3).join(', ')}). Name another output.`,
    );
  }
  return undefined;
}

/** A number that is measured before the first step and kept for when the run is continued. */
async function measureOnce(
  path: string,
  identity: string,
  measure: () => Promise<number | undefined>,
): Promise<number | undefined> {
  if (existsSync(path)) {
    const stored = JSON.parse(await readFile(path, 'utf8')) as { identity: string; lossNats: number };
    if (stored.identity === identity) return stored.lossNats;
  }
  const lossNats = await measure();
  if (lossNats !== undefined) await writeFileAtomic(path, JSON.stringify({ identity, lossNats }));
  return lossNats;
}

interface StartingPoint {
  /** What is held in memory: the adapters' model takes the place of its base. */
  model: LanguageModel;
  readonly tokenizer: Tokenizer | undefined;
  /** Tokenizer files to stand beside the trained weights. */
  readonly files: Record<string, string | Uint8Array>;
}

async function startingPoint(options: TrainRowsOptions, compiler: Compiler): Promise<StartingPoint> {
  if (options.init === undefined) {
    const opened = await openModel(options.model!, { ...options, compiler });
    return { model: opened.model, tokenizer: opened.tokenizer, files: await tokenizerFilesOf(opened.checkpoint) };
  }
  const config = readConfig(options.init);
  const model = createModel(compiler, config, createRandom(deriveSeed(options.config.seed, 'init')));
  if (options.model === undefined) return { model, tokenizer: undefined, files: {} };
  const { checkpoint, tokenizer } = await openCheckpointTokenizer(options.model, options);
  if (tokenizer !== undefined && tokenizer.vocabSize > config.vocabSize) {
    throw new DataError(
      `${options.init}: vocab_size is ${config.vocabSize}, but the tokenizer of ${options.model} has ${tokenizer.vocabSize} tokens.`,
    );
  }
  return { model, tokenizer, files: await tokenizerFilesOf(checkpoint) };
}

async function tokenizerFilesOf({
  tokenizerSource,
  tokenizerFiles,
}: Checkpoint): Promise<Record<string, string | Uint8Array>> {
  if (tokenizerSource?.kind === 'gguf') return ggufTokenizerFiles(tokenizerSource.metadata);
  const files = [...tokenizerFiles].map(async ([name, path]) => [name, await readFile(path)] as const);
  return Object.fromEntries(await Promise.all(files));
}
