/** Rows to a trained model: checkpoints on the way, the finished model in the folder at the end. */
import { readFile } from 'node:fs/promises';
import { type Compiler, effectivePrecision } from '../engine/compiler.js';
import type { Precision } from '../engine/onnx/emitter.js';
import type { KernelLevel } from '../engine/runtime/kernels-library.js';
import type { Checkpoint } from '../model/checkpoint.js';
import { readConfig } from '../model/checkpoint.js';
import { createModel, type LanguageModel, mergeLora } from '../model/language-model.js';
import { ConfigError, DataError } from '../support/errors.js';
import { fileError } from '../support/files.js';
import { sha256, sha256OfJson } from '../support/hash.js';
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
import { finishedFolder, finishedRun, finishRun, makeRunFolder, measureOnce } from './run-folder.js';
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
  /** See `readRows`. */
  readonly chatDate?: string | undefined;
  readonly config: TrainingConfig;
  readonly onStep?: (report: StepReport) => void;
  readonly log?: (message: string) => void;
}

export interface TrainRowsResult {
  readonly output: string;
  /** What products were computed in, and the level of the native kernels. */
  readonly precision: Precision;
  readonly kernels: KernelLevel;
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
  if (options.init !== undefined && config.lora !== undefined && options.merge !== true) {
    throw new ConfigError(
      'init with lora would write adapters of weights that are kept nowhere. Add merge, or leave lora out.',
    );
  }
  // Validation is scored in what training computes in.
  const asked = config.precision === 'auto' ? options.precision : config.precision;
  const { compiler, release } = compilerFor({ ...options, precision: asked });
  try {
    const precision = effectivePrecision(compiler.runtime, asked ?? compiler.precision);
    const identity = sha256OfJson(await identityOf(options, precision));
    const finished = await finishedRun<TrainRowsResult>(output, identity);
    if (finished !== undefined) {
      log?.(`${output} is finished already.`);
      return finished;
    }
    const discardFolder = await makeRunFolder(output);
    try {
      return await trainFrom(await startingPoint(options, compiler), { identity, precision }, options);
    } catch (error) {
      await discardFolder();
      throw error;
    }
  } finally {
    release();
  }
}

async function trainFrom(
  start: StartingPoint,
  { identity, precision }: { identity: string; precision: Precision },
  options: TrainRowsOptions,
): Promise<TrainRowsResult> {
  const { config, output, log } = options;
  try {
    const { tokenizer, model: base } = start;
    const read = { ...options, tokenizer, vocabSize: base.config.vocabSize, repeatedIds: 'allow' as const };
    const rows = await readRows(options.traces, read);
    const validation = options.validation === undefined ? undefined : await readRows(options.validation, read);
    const measure = async (model: LanguageModel): Promise<number | undefined> =>
      validation === undefined ? undefined : (await responseLoss(model, validation, options.signal)).lossNats;

    const numResponseTokens = rows.reduce((sum, row) => sum + row.tokens.length - row.responseStart, 0);
    log?.(`Learns from ${rows.length} rows with ${numResponseTokens} response tokens.`);
    if (validation !== undefined) log?.(`Measures the loss of ${validation.length} held-out rows.`);
    const lossNatsBefore = await measureOnce(output, identity, () => measure(base));
    const result = await trainModel(
      start.model,
      rows.map(exampleOf),
      { ...config, precision },
      {
        folder: output,
        signal: options.signal,
        ...(options.onStep && { onStep: options.onStep }),
        ...(log && { log }),
      },
    );
    start.model = result.model;
    const { compiler } = start.model;
    const summary = {
      output,
      precision,
      kernels: compiler.runtime.kernels.level,
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
    await saveTrainedModel(finishedFolder(output), model, {
      baseModel: options.model,
      files: start.files,
      overwrite: true,
    });
    const done: TrainRowsResult = {
      ...summary,
      validation:
        lossNatsBefore === undefined || lossNatsAfter === undefined ? null : { lossNatsBefore, lossNatsAfter },
    };
    await finishRun(output, { identity, config: { ...config, precision }, result: done });
    return done;
  } finally {
    start.model.dispose();
  }
}

/** What makes two calls the same run: the content of files, not where they lie. Errors: DataError where one cannot be read. */
async function identityOf(
  { model, init, traces, validation, merge, chat, chatDate, config }: TrainRowsOptions,
  precision: Precision,
): Promise<Record<string, unknown>> {
  const contentOf = async (path: string | undefined) => {
    if (path === undefined) return null;
    const bytes = await readFile(path).catch((error: unknown) => {
      throw fileError(error, 'read', path);
    });
    return sha256(bytes);
  };
  return {
    model: model ?? null,
    init: await contentOf(init),
    traces: await contentOf(traces),
    validation: await contentOf(validation),
    merge: merge ?? false,
    chat: chat ?? 'auto',
    chatDate: chatDate ?? null,
    config: { ...config, precision },
  };
}

const exampleOf = ({ id, tokens, responseStart }: EncodedRow): TrainingExample => ({
  id: String(id),
  tokens,
  responseStart,
});

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

/** Files that make a folder of weights speak, as the checkpoint has them. */
export async function tokenizerFilesOf({
  tokenizerSource,
  tokenizerFiles,
}: Checkpoint): Promise<Record<string, string | Uint8Array>> {
  if (tokenizerSource?.kind === 'gguf') return ggufTokenizerFiles(tokenizerSource.metadata);
  const files = [...tokenizerFiles].map(async ([name, path]) => [name, await readFile(path)] as const);
  return Object.fromEntries(await Promise.all(files));
}
