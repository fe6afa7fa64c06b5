/** Questions to responses. */
import { createGenerator, type GenerationStats, type GeneratorOptions } from '../../inference/generator.js';
import type { SamplerSettings } from '../../inference/samplers/settings.js';
import type { Trace } from '../../inference/trace.js';
import type { OpenedModel } from '../../jobs/open-model.js';
import { encodeExample } from '../../tokenizer/example.js';
import type { Question, Response, Task } from '../task.js';
import { tokenizerOf } from './context.js';

export interface AskOptions extends Pick<GeneratorOptions, 'processors' | 'companions'> {
  readonly task: Task;
  readonly sampler: Partial<SamplerSettings>;
  readonly seed: number;
  readonly maxTokens: number;
  readonly maxBatch: number;
  readonly signal: AbortSignal;
  readonly onTrace?: (() => void) | undefined;
}

export interface Asked {
  /** In the order of the questions. */
  readonly traces: readonly Trace[];
  readonly stats: GenerationStats;
}

/** One response to each question. Errors: those of the generator; the signal's reason. */
export async function ask(opened: OpenedModel, questions: readonly Question[], options: AskOptions): Promise<Asked> {
  const { task, sampler, seed, maxTokens, maxBatch, signal, processors, companions } = options;
  const tokenizer = tokenizerOf(opened);
  const { maxPositions } = opened.model.config;
  const generator = createGenerator(opened.model, { tokenizer, maxBatch, processors, companions });
  try {
    const indexOf = new Map(questions.map(({ id }, index) => [id, index]));
    const traces: Trace[] = [];
    const requests = questions.map(({ id, row }) => {
      const { tokens } = encodeExample(tokenizer, row, task.encoding);
      return { id, promptTokens: tokens, maxTokens: Math.min(maxTokens, maxPositions - tokens.length), sampler, seed };
    });
    const stats = await generator.generate(requests, {
      signal,
      onTrace(trace) {
        traces[indexOf.get(trace.id)!] = trace;
        options.onTrace?.();
      },
    });
    signal.throwIfAborted();
    return { traces, stats };
  } finally {
    generator.dispose();
  }
}

/** Traces as responses to their questions. */
export const responsesOf = (
  questions: readonly Question[],
  traces: readonly Pick<Trace, 'text' | 'finish'>[],
): Response[] =>
  questions.map((question, index) => ({ question, text: traces[index].text, finish: traces[index].finish }));

/** Lets the model end the responses that have no answer in the expected form with one, greedily. */
export async function forceAnswers(
  opened: OpenedModel,
  { questions, traces }: { questions: readonly Question[]; traces: readonly Trace[] },
  options: AskOptions,
): Promise<Response[]> {
  const responses = responsesOf(questions, traces);
  const { forcing } = options.task;
  if (forcing === undefined) return responses;
  const tokenizer = tokenizerOf(opened);
  const { model } = opened;
  const endIds = new Set([...model.config.eosTokenIds, ...tokenizer.eosTokenIds]);
  const suffix = tokenizer.encode(forcing.suffix, { addSpecialTokens: false });
  const requests = responses.flatMap((response, index) => {
    if (!forcing.isNeeded(response)) return [];
    const { promptTokens, tokens } = traces[index];
    const said = endIds.has(tokens.at(-1) ?? -1) ? tokens.slice(0, -1) : tokens;
    const prefix = [...promptTokens, ...said, ...suffix];
    if (prefix.length + forcing.maxTokens > model.config.maxPositions) return [];
    return [{ id: String(index), promptTokens: prefix, maxTokens: forcing.maxTokens, sampler: { temperature: 0 } }];
  });
  if (requests.length === 0) return responses;
  const forced = new Map<number, string>();
  const { maxBatch, signal } = options;
  const generator = createGenerator(model, { tokenizer, maxBatch });
  try {
    await generator.generate(requests, { signal, onTrace: ({ id, text }) => void forced.set(Number(id), text) });
    signal.throwIfAborted();
  } finally {
    generator.dispose();
  }
  return responses.map((response, index) => ({ ...response, forcedText: forced.get(index) }));
}
