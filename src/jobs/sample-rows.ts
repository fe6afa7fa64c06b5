/** Prompts to traces: a file in, a file out, written row by row and continued where it stopped. */
import { existsSync } from 'node:fs';
import type { GenerationStats } from '../inference/generation-loop.js';
import { createGenerator, type GeneratorOptions } from '../inference/generator.js';
import { type SamplerSettings, samplerSchema } from '../inference/samplers/settings.js';
import type { Trace } from '../inference/trace.js';
import { ConfigError } from '../support/errors.js';
import { canonicalJson } from '../support/hash.js';
import { openJsonlAppender, readJsonl } from '../support/jsonl.js';
import type { EncodedRow } from '../tokenizer/rows.js';
import type { OpenedModel } from './open-model.js';
import { readRows } from './read-rows.js';

export interface SampleSettings {
  readonly sampler?: Partial<SamplerSettings>;
  /** Responses a prompt; default 1. */
  readonly samples?: number;
  /** Most tokens of a response; default: what the context leaves. */
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
  /** Sequences computed at a time; default 32. */
  readonly maxBatch?: number | undefined;
  readonly signal?: AbortSignal;
  /** Told once before the work: traces wanted, and those the output already holds. */
  readonly onStart?: (plan: { numTraces: number; numDone: number }) => void;
  readonly onTrace?: (trace: Trace) => void;
  readonly log?: (message: string) => void;
}

/** Prompt of a row: everything before its response; of bare ids without responseStart, all of them. */
function promptOf({ tokens, responseStart }: EncodedRow): number[] {
  return responseStart === 0 ? tokens : tokens.slice(0, responseStart);
}

/**
 * Samples every prompt of a file. Traces are appended as they finish, in that order; run again with the same settings it does
 * what is missing. Errors: DataError for wrong rows, before any work; ConfigError where the output holds traces of other settings.
 */
export async function sampleRows(opened: OpenedModel, options: SampleRowsOptions): Promise<GenerationStats> {
  const { model, tokenizer } = opened;
  const { samples = 1, seed = 0, maxTokens, stop, log } = options;
  const sampler = samplerSchema.parse(options.sampler ?? {});
  const rows = await readRows(options.input, { ...options, tokenizer, vocabSize: model.config.vocabSize });
  const requests = rows.map((row) => ({
    id: String(row.id),
    promptTokens: promptOf(row),
    samples,
    maxTokens,
    sampler,
    seed,
    stop,
  }));
  const idOf = new Map(rows.map(({ id }) => [String(id), id]));
  const generatorOptions: GeneratorOptions = { tokenizer, maxBatch: options.maxBatch };
  const generator = createGenerator(model, generatorOptions);
  try {
    for (const request of requests) generator.check(request);
    const done = await tracesDone(options.output, { sampler, seed });
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
    const appender = await openJsonlAppender(options.output);
    try {
      return await generator.generate(missing, {
        signal: options.signal,
        onTrace(trace) {
          if (isDone(trace.id, trace.sample)) return;
          appender.append({ ...rowOf(trace, samples), id: idOf.get(trace.id) });
          options.onTrace?.(trace);
        },
      });
    } finally {
      appender.close();
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

async function tracesDone(path: string, settings: { sampler: SamplerSettings; seed: number }): Promise<Set<string>> {
  const done = new Set<string>();
  if (!existsSync(path)) return done;
  for await (const { row, line } of readJsonl(path, { onTornLine: () => {} })) {
    const { id, sample = 0, sampler, seed } = row as Partial<Trace>;
    if (canonicalJson(sampler ?? null) !== canonicalJson(settings.sampler) || seed !== settings.seed) {
      throw new ConfigError(
        `${path}:${line}: this file holds traces of other settings (sampler ${JSON.stringify(sampler)}, seed ${seed}; ` +
          `now ${JSON.stringify(settings.sampler)}, seed ${settings.seed}). Name another output, or remove the file.`,
      );
    }
    done.add(`${id}\0${sample}`);
  }
  return done;
}

/** One prompt, its response told as it is generated. Gives the trace. */
export async function samplePrompt(
  opened: OpenedModel,
  promptTokens: readonly number[],
  options: SampleSettings & { signal?: AbortSignal; onText?: (text: string) => void },
): Promise<Trace | undefined> {
  const { onText, signal, ...settings } = options;
  const generator = createGenerator(opened.model, { tokenizer: opened.tokenizer, maxBatch: 1 });
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
