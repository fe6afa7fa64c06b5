/** Decoding of a random model or of a model file. */
import type { Compiler } from '../../src/engine/compiler.js';
import type { Precision } from '../../src/engine/onnx/emitter.js';
import { createGenerator } from '../../src/inference/generator.js';
import { openModel } from '../../src/jobs/open-model.js';
import type { LanguageModel } from '../../src/model/language-model.js';
import { countParameters, sizeOfShape } from '../../src/model/parameters.js';
import { median } from '../../src/support/statistics.js';
import { type GenerationRun, generationRates, runGeneration } from './generation.js';
import { createProbe } from './probe.js';
import { randomModel, withCompiler } from './session.js';
import { flopPerToken, promptFlopPerToken, type ShapeName, shapeOf } from './shapes.js';

interface DecodeOptions {
  /** A benchmark shape with random weights, or a model file or folder. */
  readonly shape?: ShapeName;
  readonly model?: string;
  readonly threads: number;
  readonly batch: number;
  readonly prompt: number;
  readonly newTokens: number;
  readonly seconds: number;
  /** Run everything once more with the engine clocked: `overheadFraction` is what it leaves of the wall time. */
  readonly isOverheadClocked?: boolean;
  /** Default: float32. */
  readonly precision?: Precision;
}

const WARM_UP_TOKENS = 4;

export function measure(options: DecodeOptions): Promise<object> {
  const work = async (inner: Compiler): Promise<object> => {
    const probe = createProbe(inner);
    const started = performance.now();
    const model = withoutEnd(await open(probe.compiler, options));
    const loadSeconds = (performance.now() - started) / 1000;
    const { vocabSize } = model.config;
    const shape = { ...options, vocabSize };
    const generator = createGenerator(model, { maxBatch: options.batch });
    // Two short runs compile every graph: the first, of one row, makes the cache as long as it will be.
    const context = options.prompt + options.newTokens;
    await runGeneration(generator, { ...shape, batch: 1, prompt: context - WARM_UP_TOKENS, newTokens: WARM_UP_TOKENS });
    await runGeneration(generator, { ...shape, newTokens: WARM_UP_TOKENS });
    const runs: GenerationRun[] = [];
    const engineMs: number[] = [];
    const begin = performance.now();
    while (runs.length === 0 || performance.now() - begin < options.seconds * 1000) {
      // As a user runs it, then with the engine alone clocked.
      runs.push(await runGeneration(generator, shape));
      if (options.isOverheadClocked !== true) continue;
      probe.isBlocking = true;
      probe.engineMs = 0;
      await runGeneration(generator, shape);
      engineMs.push(probe.engineMs);
      probe.isBlocking = false;
    }
    const rates = generationRates(runs, shape);
    const bytesPerToken = bytesPerStep(model, { ...options, context: (options.prompt + context) / 2 }) / options.batch;
    generator.dispose();
    model.dispose();
    return {
      ...options,
      loadSeconds,
      numParameters: countParameters(model.config),
      numRuns: runs.length,
      ...rates,
      ...(engineMs.length > 0 && {
        overheadFraction: 1 - median(engineMs) / median(runs.map(({ wallMs }) => wallMs)),
      }),
      gflops: (rates.decodeTokensPerSecond * flopPerToken(model.config, (options.prompt + context) / 2)) / 1e9,
      promptGflops: (rates.promptTokensPerSecond * promptFlopPerToken(model.config, options.prompt / 2)) / 1e9,
      readGigabytesPerSecond: (rates.decodeTokensPerSecond * bytesPerToken) / 1e9,
    };
  };
  return withCompiler(options.threads, work, options.precision);
}

async function open(compiler: Compiler, { shape, model }: DecodeOptions): Promise<LanguageModel> {
  if (model !== undefined) return (await openModel(model, { compiler })).model;
  return randomModel(compiler, shapeOf(shape!).config);
}

/** Weights as they are computed with, and keys and values of every row. */
function bytesPerStep(
  { config, parameters, compiler }: LanguageModel,
  step: { batch: number; context: number },
): number {
  const width = compiler.precision === 'bfloat16' ? 2 : 4;
  const weights = [...parameters.values()].map(
    ({ shape, blocks }) => blocks?.bytes.shape[0] ?? width * sizeOfShape(shape),
  );
  const perPosition = 2 * config.numLayers * config.numKvHeads * config.headSize * width;
  return weights.reduce((sum, bytes) => sum + bytes, 0) + step.batch * step.context * perPosition;
}

/** The same model, which no token ends. */
const withoutEnd = (model: LanguageModel): LanguageModel => ({
  ...model,
  config: { ...model.config, eosTokenIds: [] },
});
