/** Text from a model: requests in, finished traces out, the batch kept full in between. */
import { totalmem } from 'node:os';
import type { LanguageModel } from '../model/language-model.js';
import { ConfigError, invariant } from '../support/errors.js';
import type { Tokenizer } from '../tokenizer/types.js';
import { batchBucket } from './buckets.js';
import { type Companion, createJoinedRunner, shareOfModel } from './companions.js';
import { type GenerateOptions, type GenerationStats, runGeneration } from './generation-loop.js';
import { cacheFits, cacheLayout, checkCacheFits } from './kv-cache.js';
import { type CheckedRequest, checkRequest, createSequence, type GenerationRequest } from './request.js';
import { createSource } from './request-source.js';
import type { LogitsProcessor } from './samplers/processor.js';
import { createSampler } from './samplers/sampler.js';
import { createScheduler } from './scheduler.js';
import { longestLength, type Sequence } from './sequence.js';

export type { GenerateOptions, GenerationStats, TokenEvent } from './generation-loop.js';

export interface GeneratorOptions {
  /** Without one, traces have no text and stop strings are refused. */
  readonly tokenizer?: Tokenizer | undefined;
  /** Most sequences at a time; default 32. */
  readonly maxBatch?: number | undefined;
  /** Longest piece of a prompt in one run, in tokens, a power of two; default 256. */
  readonly chunkSize?: number | undefined;
  /** Prompt tokens, padding included, computed between two decode steps; default 1024. */
  readonly prefillTokens?: number | undefined;
  /** Most memory for keys and values; default: three quarters of the machine's memory, less what the runtime holds already. */
  readonly maxCacheBytes?: number | undefined;
  /** Further pieces of the distribution (a defence). */
  readonly processors?: readonly LogitsProcessor[] | undefined;
  /** Models that see every token too, and whose results the processors read. Their tokens must be the model's. */
  readonly companions?: readonly Companion[] | undefined;
}

export interface Generator {
  /**
   * Generates every sample of every request. Which sequences share a batch changes no random number. One call at a time.
   * Errors: DataError and ConfigError of `checkRequest`; ConfigError where the cache would not fit; BackendError for logits
   * that are not numbers, and OverflowError where a processor made no distribution of them.
   */
  generate(
    requests: Iterable<GenerationRequest> | AsyncIterable<GenerationRequest>,
    options?: GenerateOptions,
  ): Promise<GenerationStats>;
  /** Throws what `generate` would throw for this request. */
  check(request: GenerationRequest): void;
  dispose(): void;
}

const DEFAULTS = { maxBatch: 32, chunkSize: 256, prefillTokens: 1024 };
const CACHE_SHARE_OF_MEMORY = 0.75;

export function createGenerator(model: LanguageModel, options: GeneratorOptions = {}): Generator {
  const { config, compiler } = model;
  const { tokenizer } = options;
  const limits = checkLimits(options);
  const { maxBatch } = limits;
  const maxCacheBytes = options.maxCacheBytes ?? totalmem() * CACHE_SHARE_OF_MEMORY - model.compiler.runtime.ownedBytes;
  const { companions = [], processors = [] } = options;
  const runner = createJoinedRunner(model, companions, { maxBatch: batchBucket(maxBatch), maxCacheBytes });
  // Companions' caches grow in step with the model's, so what fits in its share fits in theirs.
  const layout = cacheLayout(config, compiler.precision);
  const modelCacheBytes = maxCacheBytes * shareOfModel(model, companions);
  const sampler = createSampler(compiler, {
    vocabSize: config.vocabSize,
    unnamed: unnamedIds(config.vocabSize, tokenizer),
    processors,
  });
  let isBusy = false;

  const checked = (request: GenerationRequest): CheckedRequest => {
    const complete = checkRequest(request, config, tokenizer);
    // Alone it must fit; how many may run beside it is the scheduler's business.
    checkCacheFits(layout, { slots: 1, capacity: longestLength(complete) }, modelCacheBytes);
    return complete;
  };

  return {
    check: (request) => void checked(request),
    async generate(requests, callbacks = {}) {
      invariant(!isBusy, 'a generator was asked to generate while it generates');
      isBusy = true;
      try {
        const fits = (slots: number, capacity: number) => cacheFits(layout, { slots, capacity }, modelCacheBytes);
        const scheduler = createScheduler({ ...limits, fits });
        const expand = (request: GenerationRequest): Sequence[] => {
          const complete = checked(request);
          return Array.from({ length: complete.samples }, (_, sample) => createSequence(complete, sample, tokenizer));
        };
        const { precision } = compiler;
        const parts = { scheduler, runner, sampler, maxBatch, fits, processors, precision };
        return await runGeneration(parts, createSource(requests), { expand, callbacks });
      } finally {
        isBusy = false;
      }
    },
    dispose() {
      runner.dispose();
      sampler.dispose();
    },
  };
}

function checkLimits(options: GeneratorOptions): typeof DEFAULTS {
  const limits = {
    maxBatch: options.maxBatch ?? DEFAULTS.maxBatch,
    chunkSize: options.chunkSize ?? DEFAULTS.chunkSize,
    prefillTokens: options.prefillTokens ?? DEFAULTS.prefillTokens,
  };
  const least = { maxBatch: 1, chunkSize: 2, prefillTokens: 1 };
  for (const name of ['maxBatch', 'chunkSize', 'prefillTokens'] as const) {
    if (Number.isInteger(limits[name]) && limits[name] >= least[name]) continue;
    throw new ConfigError(`${name} is ${limits[name]}, expected a whole number of at least ${least[name]}.`);
  }
  if (!Number.isInteger(Math.log2(limits.chunkSize))) {
    // Then chunks padded to powers of two never reach beyond a cache whose size is one.
    throw new ConfigError(`chunkSize is ${limits.chunkSize}, expected a power of two.`);
  }
  return limits;
}

/** Rows of the embedding that no token names. */
function unnamedIds(vocabSize: number, tokenizer: Tokenizer | undefined): number[] {
  if (tokenizer === undefined) return [];
  return Array.from({ length: vocabSize }, (_, id) => id).filter((id) => tokenizer.tokenOf(id) === undefined);
}
