/** How fast this machine samples and trains, from a decoder of six million weights and a few seconds. */
import { type Compiler, createCompiler, type PrecisionChoice } from '../../engine/compiler.js';
import type { Precision } from '../../engine/onnx/emitter.js';
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
  hiddenSize: 384,
  intermediateSize: 1024,
  numLayers: 3,
  numHeads: 6,
  numKvHeads: 3,
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
const NEW_TOKENS = 32;
const TRAINED_LENGTH = 128;
const TRAINED_STEPS = 3;
const TRAINED_ROWS = 4;

/** Measures on one thread with `batch` responses at a time: a second or two of a quiet machine. */
export async function measureRates({
  batch,
  precision = 'auto',
}: {
  batch: number;
  precision?: PrecisionChoice | undefined;
}): Promise<Rates> {
  const compiler = createCompiler(openRuntime({ threads: 1 }), { precision });
  const model = createModel(compiler, PROBE, createRandom('probe'));
  try {
    const sampledFlopPerSecond = await measureSampling(model, Math.min(batch, 32));
    const trainedFlopPerSecond = await measureTraining(model);
    return {
      sampledFlopPerSecond,
      trainedFlopPerSecond,
      source: describe(sampledFlopPerSecond, trainedFlopPerSecond, compiler.precision),
    };
  } finally {
    model.dispose();
    release(compiler);
  }
}

/** What this process has had of the processor: where others have it too, less time than has passed. */
function processorMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function release(compiler: Compiler): void {
  compiler.dispose();
  compiler.runtime.dispose();
}

function describe(sampled: number, trained: number, precision: Precision): string {
  const giga = (value: number) => `${(value / 1e9).toFixed(0)} GFLOP/s`;
  return (
    `Measured now by the processor time of one thread in ${precision}, with a decoder of 6 M weights: sampling ${giga(sampled)}, training ${giga(trained)}. Larger models are ` +
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
    const before = processorMs();
    const { numTokens, durationMs } = await generator.generate(requests);
    const ownMs = Math.min(durationMs, processorMs() - before);
    return (numTokens * samplingFlop(PROBE, PROMPT + NEW_TOKENS / 2) * 1000) / ownMs;
  } finally {
    generator.dispose();
  }
}

async function measureTraining(model: LanguageModel): Promise<number> {
  const rows = Array.from({ length: TRAINED_ROWS * TRAINED_STEPS }, (_, row) => ({
    id: String(row),
    tokens: Array.from({ length: TRAINED_LENGTH + 1 }, (_, index) => (row + 11 * index) % PROBE.vocabSize),
    responseStart: 1,
  }));
  const config = trainingSchema.parse({
    batchSize: TRAINED_ROWS,
    microBatchTokens: TRAINED_ROWS * TRAINED_LENGTH,
    checkpointEverySteps: 0,
  });
  const times: number[] = [];
  let before = processorMs();
  await trainModel(model, rows, config, {
    onStep({ durationMs }) {
      times.push(Math.min(durationMs, processorMs() - before));
      before = processorMs();
    },
  });
  // The first step compiles.
  return (TRAINED_ROWS * TRAINED_LENGTH * trainingFlop(PROBE, TRAINED_LENGTH) * 1000) / Math.min(...times.slice(1));
}
