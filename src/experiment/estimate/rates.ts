/** How fast this machine samples and trains, from a decoder of a few million weights and a few seconds. */
import { type Compiler, createCompiler } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { createGenerator } from '../../inference/generator.js';
import type { TransformerConfig } from '../../model/config.js';
import { createModel, type LanguageModel } from '../../model/language-model.js';
import { createRandom } from '../../support/random.js';
import { trainingSchema } from '../../training/config.js';
import { trainModel } from '../../training/train.js';
import { samplingFlop, trainingFlop } from './flop.js';

export interface Rates {
  /** Floating-point operations a second of one thread, by what a model's size says is needed. */
  readonly sampledFlopPerSecond: number;
  readonly trainedFlopPerSecond: number;
  /** One sentence: where these numbers come from. */
  readonly source: string;
}

/** Wide enough that products and not calls take the time, small enough for seconds; its weights exceed a core's cache. */
const PROBE: TransformerConfig = {
  family: 'llama',
  vocabSize: 4096,
  hiddenSize: 512,
  intermediateSize: 1408,
  numLayers: 4,
  numHeads: 8,
  numKvHeads: 4,
  headSize: 64,
  rmsNormEps: 1e-5,
  ropeTheta: 10_000,
  ropeScaling: { kind: 'none' },
  maxPositions: 1024,
  qkvBias: false,
  outputBias: false,
  mlpBias: false,
  qkNorm: false,
  tiedHead: true,
  bosTokenId: undefined,
  eosTokenIds: [],
  padTokenId: undefined,
  initializerRange: 0.02,
};

const PROMPT = 16;
const NEW_TOKENS = 48;
const TRAINED_LENGTH = 128;
const TRAINED_STEPS = 3;

/** Measures on one thread with `batch` responses at a time: two to five seconds. */
export async function measureRates({ batch }: { batch: number }): Promise<Rates> {
  const compiler = createCompiler(openRuntime({ threads: 1 }));
  const model = createModel(compiler, PROBE, createRandom('probe'));
  try {
    const sampledFlopPerSecond = await measureSampling(model, Math.min(batch, 32));
    const trainedFlopPerSecond = await measureTraining(model);
    return { sampledFlopPerSecond, trainedFlopPerSecond, source: describe(sampledFlopPerSecond, trainedFlopPerSecond) };
  } finally {
    model.dispose();
    release(compiler);
  }
}

function release(compiler: Compiler): void {
  compiler.dispose();
  compiler.runtime.dispose();
}

function describe(sampled: number, trained: number): string {
  const giga = (value: number) => `${(value / 1e9).toFixed(0)} GFLOP/s`;
  return (
    `Measured now on one thread with a decoder of 12 M weights: sampling ${giga(sampled)}, training ${giga(trained)}. Larger models are ` +
    'taken to be as fast for their size, and stages to divide evenly among the cores: expect a factor of two.'
  );
}

async function measureSampling(model: LanguageModel, batch: number): Promise<number> {
  const generator = createGenerator(model, { maxBatch: batch });
  const requests = Array.from({ length: batch }, (_, row) => ({
    id: String(row),
    promptTokens: Array.from({ length: PROMPT }, (_, index) => (row + 7 * index) % PROBE.vocabSize),
    maxTokens: NEW_TOKENS,
  }));
  try {
    await generator.generate(requests.map((request) => ({ ...request, maxTokens: 2 }))); // compiles
    const { numTokens, durationMs } = await generator.generate(requests);
    return (numTokens * samplingFlop(PROBE, PROMPT + NEW_TOKENS / 2) * 1000) / durationMs;
  } finally {
    generator.dispose();
  }
}

async function measureTraining(model: LanguageModel): Promise<number> {
  const rows = Array.from({ length: 8 * TRAINED_STEPS }, (_, row) => ({
    id: String(row),
    tokens: Array.from({ length: TRAINED_LENGTH + 1 }, (_, index) => (row + 11 * index) % PROBE.vocabSize),
    responseStart: 1,
  }));
  const config = trainingSchema.parse({ batchSize: 8, microBatchTokens: 8 * TRAINED_LENGTH, checkpointEverySteps: 0 });
  const times: number[] = [];
  await trainModel(model, rows, config, {
    onStep: ({ durationMs }) => void times.push(durationMs),
  });
  // The first step compiles.
  return (8 * TRAINED_LENGTH * trainingFlop(PROBE, TRAINED_LENGTH) * 1000) / Math.min(...times.slice(1));
}
