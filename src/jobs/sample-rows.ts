/** Prompts to traces: a file in, a file out, written row by row and continued where it stopped. */
import { existsSync, rmSync } from 'node:fs';
import type { Precision } from '../engine/onnx/emitter.js';
import type { GenerationStats } from '../inference/generation-loop.js';
import { createGenerator, type GeneratorOptions } from '../inference/generator.js';
import { type SamplerSettings, samplerSchema } from '../inference/samplers/settings.js';
import { samplerRecord, type Trace } from '../inference/trace.js';
import type { LanguageModel } from '../model/language-model.js';
import { ConfigError } from '../support/errors.js';
import { canonicalJson } from '../support/hash.js';
import { openJsonlAppender } from '../support/jsonl.js';
import type { EncodedRow } from '../tokenizer/rows.js';
import type { OpenedModel } from './open-model.js';
import { readRows } from './read-rows.js';
import { checkSameModel, readWritten } from './written-rows.js';

export interface SampleSettings {
  readonly sampler?: Partial<SamplerSettings>;
  /** Responses a prompt; default 1. */
  readonly samples?: number;
  /** Most tokens of a response; default 256. The context may leave fewer. */
  readonly maxTokens?: number | undefined;
  /** Text that ends a response. */
  readonly stop?: readonly string[];
  readonly seed?: number;
}

export interface SampleRowsOptions extends SampleSettings {
  /** Rows with prompts (.jsonl). */
  readonly input: string;
  /** Traces (.jsonl); rows that are in it already are not sampled again. */
  readonly output: string;
  readonly chat?: 'auto' | 'never';
  /** See `readRows`. */
  readonly chatDate?: string | undefined;
  /** Sequences computed at a time; default 32. */
  readonly maxBatch?: number | undefined;
  /** A defence: what further shapes the distribution, and the models it needs beside. */
  readonly defence?: Pick<GeneratorOptions, 'processors' | 'companions'> | undefined;
  readonly signal?: AbortSignal;
  /** Told once before the work: traces wanted, and those the output already holds. */
  readonly onStart?: (plan: { numTraces: number; numDone: number }) => void;
  /** Told of every token that is drawn. */
  readonly onToken?: () => void;
  readonly onTrace?: (trace: Trace) => void;
  readonly log?: (message: string) => void;
}

const DEFAULT_MAX_TOKENS = 256;

/** Prompt of a row: everything before its response; of bare ids without responseStart, all of them. */
export function promptOf({ tokens, responseStart }: EncodedRow): number[] {
  return responseStart === 0 ? tokens : tokens.slice(0, responseStart);
}

/**
 * Samples every prompt of a file. Traces are appended as they finish, in that order; run again with the same settings it does
 * what is missing. Errors: DataError for wrong rows, before any work; ConfigError where the output holds traces of other settings,
 * rows or another model.
 */
export async function sampleRows(opened: OpenedModel, options: SampleRowsOptions): Promise<GenerationStats> {
  const { model, tokenizer } = opened;
  const { samples = 1, seed = 0, maxTokens = DEFAULT_MAX_TOKENS, stop, log } = options;
  const sampler = samplerSchema.parse(options.sampler ?? {});
  const rows = await readRows(options.input, { ...options, tokenizer, vocabSize: model.config.vocabSize });
  const requests = rows.map((row) => {
    const promptTokens = promptOf(row);
    const limit = Math.min(maxTokens, model.config.maxPositions - promptTokens.length);
    return { id: String(row.id), promptTokens, samples, maxTokens: limit, sampler, seed, stop };
  });
  const idOf = new Map(rows.map(({ id }) => [String(id), id]));
  const generator = createGenerator(model, { tokenizer, maxBatch: options.maxBatch, ...options.defence });
  const record = samplerRecord(sampler, options.defence?.processors ?? []);
  try {
    for (const request of requests) generator.check(request);
    const wanted = requests.map((request) => ({ ...request, sampler: record, precision: model.compiler.precision }));
    const done = await tracesDone(model, wanted, options.output);
    const isDone = (id: string, sample: number) => done.has(`${id}\0${sample}`);
    const missing = requests.filter(({ id }) =>
      Array.from({ length: samples }, (_, k) => k).some((k) => !isDone(id, k)),
    );
    const numTraces = requests.length * samples;
    const numDone = requests.reduce(
      (sum, { id }) =>
        sum + Array.from({ length: samples }, (_, k) => Number(isDone(id, k))).reduce((a, b) => a + b, 0),
      0,
    );
    options.onStart?.({ numTraces, numDone });
    if (numDone > 0) log?.(`${options.output} holds ${numDone} of ${numTraces} traces already.`);
    const onTornLine = ({ line }: { line: number }) =>
      log?.(`${options.output}:${line}: the last line was cut off; its trace is sampled again.`);
    const isNew = !existsSync(options.output);
    let numWritten = 0;
    let hasFailed = true;
    const appender = await openJsonlAppender(options.output, { onTornLine });
    try {
      const stats = await generator.generate(missing, {
        signal: options.signal,
        onToken: options.onToken,
        onTrace(trace) {
          if (isDone(trace.id, trace.sample)) return;
          appender.append({ ...rowOf(trace, samples), id: idOf.get(trace.id) });
          numWritten += 1;
          options.onTrace?.(trace);
        },
      });
      hasFailed = false;
      return stats;
    } finally {
      appender.close();
      // A proxy whose gradient is of no use shows only now; what failed before its first trace leaves no empty file.
      if (hasFailed && isNew && numWritten === 0) rmSync(options.output, { force: true });
    }
  } finally {
    generator.dispose();
  }
}

/** A trace as it is written: `sample` only where prompts have several. */
function rowOf({ sample, ...trace }: Trace, samples: number): Omit<Trace, 'sample'> {
  const { id, ...rest } = trace;
  return samples === 1 ? trace : ({ id, sample, ...rest } as Omit<Trace, 'sample'>);
}

type Wanted = {
  readonly id: string;
  readonly promptTokens: readonly number[];
  readonly maxTokens: number;
  readonly sampler: Trace['sampler'];
  readonly precision: Precision;
  readonly seed: number;
};

/** The traces that an output holds already, as `id\0sample`. Errors: ConfigError for one that this run would not have written. */
async function tracesDone(model: LanguageModel, wanted: readonly Wanted[], path: string): Promise<Set<string>> {
  const done = new Set<string>();
  const requestOf = new Map(wanted.map((request) => [request.id, request]));
  for await (const { row, line } of readWritten(path)) {
    const trace = (row ?? {}) as Partial<Trace>;
    const { id, sample = 0, promptTokens = [], tokens = [], logprobs = [] } = trace;
    const request = requestOf.get(String(id));
    const problem =
      request === undefined ? `its id ${JSON.stringify(id)} is not in the input` : difference(trace, request);
    if (problem !== undefined) {
      throw new ConfigError(
        `${path}:${line}: this file holds traces of another run: ${problem}. Name another output, or remove the file.`,
      );
    }
    if (done.size === 0) {
      await checkSameModel(model, { tokens: [...promptTokens, ...tokens], logprobs, where: `${path}:${line}` });
    }
    done.add(`${id}\0${sample}`);
  }
  return done;
}

/** How a trace shows that it was not made for this request, if it does. */
function difference(
  trace: Partial<Trace>,
  { promptTokens, maxTokens, sampler, precision, seed }: Wanted,
): string | undefined {
  if (canonicalJson(trace.sampler ?? null) !== canonicalJson(sampler)) {
    return `its sampler is ${JSON.stringify(trace.sampler)}, now ${JSON.stringify(sampler)}`;
  }
  // Traces that name no precision come from before there was another.
  const { precision: written = 'float32' } = trace;
  if (written !== precision) return `it was made in ${written}, now in ${precision} (precision)`;
  if (trace.seed !== seed) return `its seed is ${trace.seed}, now ${seed}`;
  if (JSON.stringify(trace.promptTokens) !== JSON.stringify(promptTokens)) return 'its prompt is another one';
  const numTokens = trace.tokens?.length ?? 0;
  const isOtherLimit = numTokens > maxTokens || (trace.finish === 'length' && numTokens < maxTokens);
  return isOtherLimit ? `its longest response is of ${numTokens} tokens, now ${maxTokens} are asked for` : undefined;
}

/** One prompt, its response told as it is generated. Gives the trace. */
export async function samplePrompt(
  opened: OpenedModel,
  promptTokens: readonly number[],
  options: SampleSettings & Pick<SampleRowsOptions, 'defence' | 'signal'> & { onText?: (text: string) => void },
): Promise<Trace | undefined> {
  const { onText, signal, defence, ...settings } = options;
  const generator = createGenerator(opened.model, { tokenizer: opened.tokenizer, maxBatch: 1, ...defence });
  try {
    let result: Trace | undefined;
    await generator.generate([{ id: 'prompt', promptTokens, ...settings }], {
      signal,
      onToken: ({ text }) => onText?.(text),
      onTrace: (trace) => {
        result = trace;
      },
    });
    return result;
  } finally {
    generator.dispose();
  }
}
