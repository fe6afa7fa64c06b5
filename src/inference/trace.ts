/** A finished response, as it is written. */
import type { Precision } from '../engine/onnx/emitter.js';
import type { LogitsProcessor } from './samplers/processor.js';
import type { SamplerSettings } from './samplers/settings.js';
import type { FinishReason, Sequence } from './sequence.js';

/** One row of a trace file; `tokens`, `text` and `logprobs` are of the response alone. */
export interface Trace {
  /** Of the request; its samples share it. */
  readonly id: string;
  /** Index among the samples of the request, from 0. */
  readonly sample: number;
  readonly promptTokens: readonly number[];
  /** With the id that ended the response, if one did. */
  readonly tokens: readonly number[];
  /** Without special tokens and without the stop string; '' where there is no tokenizer. */
  readonly text: string;
  /** `stop`: an end-of-sequence id or a stop string; `length`: the limit or the end of the context. */
  readonly finish: FinishReason;
  /** Every setting that shaped the distribution: the sampler's, and those of further processors by their names. */
  readonly sampler: SamplerSettings & Readonly<Record<string, unknown>>;
  /** That the model's products were computed in: the numbers are the same bits in it alone. */
  readonly precision: Precision;
  /** ln p(token | before) under the model's own distribution: no temperature, no truncation. */
  readonly logprobs: readonly number[];
  /** Of the request. */
  readonly seed: number;
  /** Numbers for each token that processors gave, by name; absent where none did. */
  readonly statistics?: Readonly<Record<string, readonly number[]>>;
}

/** What a trace tells of its distribution. */
export function samplerRecord(sampler: SamplerSettings, processors: readonly LogitsProcessor[]): Trace['sampler'] {
  const further = processors.filter(({ settings }) => settings !== undefined);
  return { ...sampler, ...Object.fromEntries(further.map(({ name, settings }) => [name, settings])) };
}

export function traceOf(
  sequence: Sequence,
  finish: FinishReason,
  { processors, precision }: { processors: readonly LogitsProcessor[]; precision: Precision },
): Trace {
  const { id, sample, promptTokens, tokens, sampler, logprobs, requestSeed, statistics } = sequence;
  return {
    id,
    sample,
    promptTokens,
    tokens,
    text: sequence.text?.text ?? '',
    finish,
    sampler: samplerRecord(sampler, processors),
    precision,
    logprobs,
    seed: requestSeed,
    ...(statistics.size === 0 ? {} : { statistics: Object.fromEntries(statistics) }),
  };
}
