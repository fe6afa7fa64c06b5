/** What a run is, and how it fits into memory. */
import { createHash } from 'node:crypto';
import { type LanguageModel, valuesOf } from '../model/language-model.js';
import { sha256, sha256OfJson } from '../support/hash.js';
import { type TrainingExample, timeBucket } from './batches.js';
import type { RunIdentity } from './checkpoint.js';
import type { TrainingConfig } from './config.js';
import { availableBytes, estimateTrainingBytes } from './memory-estimate.js';

/** Settings that do not change what is computed: a run may go on with others. */
const FREE_SETTINGS = ['checkpointEverySteps', 'keepCheckpoints', 'evaluateEverySteps', 'activationCheckpointing'];
/** Values of each tensor that stand for it in the identity of a model. */
const SAMPLED_VALUES = 1024;
/** Share of the available memory a run may plan with. */
const USABLE_FRACTION = 0.9;

/** Identity of a run, taken before the first step. */
export function identifyRun(
  model: LanguageModel,
  examples: readonly TrainingExample[],
  config: Readonly<Record<string, unknown>>,
): RunIdentity {
  const settings = Object.entries(config).filter(([key]) => !FREE_SETTINGS.includes(key));
  return {
    config: Object.fromEntries(settings),
    dataHash: hashExamples(examples),
    modelHash: identifyModel(model),
  };
}

function hashExamples(examples: readonly TrainingExample[]): string {
  const hash = createHash('sha256');
  for (const { id, tokens, responseStart, weights } of examples) {
    hash.update(JSON.stringify([id, responseStart, tokens.length]));
    hash.update(Int32Array.from(tokens));
    if (weights !== undefined) hash.update(JSON.stringify(weights));
  }
  return hash.digest('hex');
}

const identifyModel = (model: LanguageModel): string => sha256OfJson([model.architectureKey, sampledParameters(model)]);

/** SHA-256 over values spread over every parameter: tells checkpoints of one architecture apart. */
export const identifyParameters = (model: LanguageModel): string => sha256OfJson(sampledParameters(model));

/** Hashes of values spread over every tensor: reading all of a large model would take seconds. */
function sampledParameters(model: LanguageModel): [name: string, hash: string][] {
  return [...model.parameters].map(([name, parameter]) => {
    const data = valuesOf(parameter);
    const stride = Math.max(1, Math.floor(data.length / SAMPLED_VALUES));
    const sample = Float32Array.from({ length: Math.ceil(data.length / stride) }, (_, index) => data[index * stride]);
    return [name, sha256(new Uint8Array(sample.buffer))];
  });
}

type MemorySettings = Pick<TrainingConfig, 'batchSize' | 'microBatchTokens' | 'activationCheckpointing'>;

/** Whether to compute activations twice: as told, or (auto) where the largest batch would not fit the memory that is left. */
export function chooseCheckpointing(
  model: LanguageModel,
  examples: readonly TrainingExample[],
  { config, log }: { config: MemorySettings; log: (message: string) => void },
): boolean {
  const longest = examples.reduce((most, { tokens }) => Math.max(most, tokens.length), 0);
  const time = timeBucket(longest - 1);
  const batch = Math.max(1, Math.min(config.batchSize, Math.floor(config.microBatchTokens / time)));
  const needed = (checkpointing: boolean) => {
    const estimate = estimateTrainingBytes(model.config, { batch, time, lora: model.lora, checkpointing });
    return estimate.optimizerBytes + estimate.activationBytes;
  };
  const usable = USABLE_FRACTION * availableBytes();
  const chosen = config.activationCheckpointing === 'auto' ? needed(false) > usable : config.activationCheckpointing;
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  if (chosen && config.activationCheckpointing === 'auto')
    log(
      `Activations are computed twice (activationCheckpointing): about ${gigabytes(needed(false))} would be needed, ${gigabytes(usable)} are free.`,
    );
  if (needed(chosen) > usable)
    log(
      `About ${gigabytes(needed(chosen))} are needed, ${gigabytes(usable)} are free: use a smaller microBatchTokens or maxLength, or lora.`,
    );
  return chosen;
}
