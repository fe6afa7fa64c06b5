/** What a caller asks for, checked. */
import { z } from 'zod';
import type { TransformerConfig } from '../model/config.js';
import { ConfigError, DataError, messageOf } from '../support/errors.js';
import { deriveSeed } from '../support/random.js';
import type { Tokenizer } from '../tokenizer/types.js';
import { type SamplerSettings, samplerSchema } from './samplers/settings.js';
import type { Sequence } from './sequence.js';
import { createTextStream } from './text-stream.js';

export interface GenerationRequest {
  /** Names the row in traces and messages, and takes part in its random numbers. */
  readonly id: string;
  /** At least one; shorter than the context. */
  readonly promptTokens: readonly number[];
  /** Responses wanted; default 1. */
  readonly samples?: number | undefined;
  /** Most tokens of a response; default 256, or what the context leaves if that is less. */
  readonly maxTokens?: number | undefined;
  /** Settings that are left out have their defaults (`samplerSchema`). */
  readonly sampler?: Partial<SamplerSettings> | undefined;
  /** With `id` and the index of the sample it decides every random number. Default 0. */
  readonly seed?: number | undefined;
  /** Text that ends the response and is no part of it. Needs a tokenizer. */
  readonly stop?: readonly string[] | undefined;
  /** Ids that end the response, besides those of the model and the tokenizer. */
  readonly stopTokenIds?: readonly number[] | undefined;
}

const DEFAULT_MAX_TOKENS = 256;

/** A request with nothing left open. */
export interface CheckedRequest {
  readonly id: string;
  readonly promptTokens: readonly number[];
  readonly samples: number;
  readonly maxTokens: number;
  readonly sampler: SamplerSettings;
  readonly seed: number;
  readonly stop: readonly string[];
  readonly stopTokenIds: ReadonlySet<number>;
}

/**
 * Fills in defaults. Errors: DataError for a prompt that is empty, longer than the context or has ids outside the vocabulary;
 * ConfigError for settings that are out of range. Both name the row.
 */
export function checkRequest(
  request: GenerationRequest,
  config: TransformerConfig,
  tokenizer: Tokenizer | undefined,
): CheckedRequest {
  const { id, promptTokens, samples = 1, seed = 0, stop = [], stopTokenIds = [] } = request;
  const { maxPositions } = config;
  checkTokens(id, promptTokens, config);
  if (promptTokens.length >= maxPositions) {
    throw new DataError(
      `Row '${id}': a prompt of ${promptTokens.length} tokens leaves no room for a response in the model's context of ` +
        `${maxPositions}. Shorten the prompt.`,
    );
  }
  const room = maxPositions - promptTokens.length;
  const maxTokens = Math.min(request.maxTokens ?? DEFAULT_MAX_TOKENS, room);
  if (!Number.isInteger(maxTokens) || maxTokens < 1) {
    throw new ConfigError(`Row '${id}': maxTokens is ${request.maxTokens}, expected a whole number of at least 1.`);
  }
  if (!Number.isInteger(samples) || samples < 1) {
    throw new ConfigError(`Row '${id}': samples is ${samples}, expected a whole number of at least 1.`);
  }
  if (stop.length > 0 && tokenizer === undefined) {
    throw new ConfigError(`Row '${id}': stop strings need a tokenizer; without one, use stopTokenIds.`);
  }
  const sampler = samplerSchema.safeParse(request.sampler ?? {});
  if (!sampler.success) throw new ConfigError(`Row '${id}': sampler: ${z.prettifyError(sampler.error)}`);
  try {
    if (tokenizer !== undefined) createTextStream(tokenizer, stop);
  } catch (error) {
    throw new ConfigError(`Row '${id}': ${messageOf(error)}`);
  }
  return {
    id,
    promptTokens,
    samples,
    maxTokens,
    sampler: Object.freeze(sampler.data),
    seed,
    stop,
    stopTokenIds: new Set([...config.eosTokenIds, ...(tokenizer?.eosTokenIds ?? []), ...stopTokenIds]),
  };
}

/** Throws DataError naming the row if it is empty or an id is no row of the embedding. */
export function checkTokens(id: string, tokens: readonly number[], { vocabSize }: TransformerConfig): void {
  if (tokens.length === 0) throw new DataError(`Row '${id}' has no tokens. Give it at least one, such as bos.`);
  const index = tokens.findIndex((token) => !Number.isInteger(token) || token < 0 || token >= vocabSize);
  if (index < 0) return;
  throw new DataError(
    `Row '${id}': token ${index} is ${tokens[index]}, but the model's ids run from 0 to ${vocabSize - 1}. ` +
      'Were the ids made with another tokenizer?',
  );
}

/** The sequence that will become sample `sample` of a request. */
export function createSequence(request: CheckedRequest, sample: number, tokenizer: Tokenizer | undefined): Sequence {
  const { id, promptTokens, seed, sampler, maxTokens, stopTokenIds, stop } = request;
  return {
    id,
    sample,
    promptTokens,
    tokens: [],
    logprobs: [],
    statistics: new Map(),
    seed: deriveSeed(seed, id, sample),
    requestSeed: seed,
    sampler,
    maxTokens,
    stopTokenIds,
    text: tokenizer === undefined ? undefined : createTextStream(tokenizer, stop),
    status: 'waiting',
    slot: -1,
    numCached: 0,
    finish: undefined,
  };
}
