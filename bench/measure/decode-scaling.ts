/** Decode steps at several sizes in one process. */
import { createGenerator } from '../../src/inference/generator.js';
import { median } from '../../src/support/statistics.js';
import { runGeneration } from './generation.js';
import { randomModel, withCompiler } from './session.js';
import { flopPerToken, type ShapeName, shapeOf, withVocabulary } from './shapes.js';

export interface DecodePoint {
  /** The size that changes. */
  readonly x: number;
  readonly shape: ShapeName;
  readonly vocab?: number;
  readonly batch: number;
  /** Tokens of a row when the steps are clocked. */
  readonly context: number;
}

interface DecodeScalingOptions {
  readonly points: readonly DecodePoint[];
  readonly threads: number;
  readonly steps: number;
}

export function measure({ points, threads, steps }: DecodeScalingOptions): Promise<object> {
  return withCompiler(threads, async (compiler) => {
    const measured: { x: number; costMs: number; gflop: number }[] = [];
    for (const { x, shape, vocab, batch, context } of points) {
      const config = vocab === undefined ? shapeOf(shape).config : withVocabulary(shape, vocab);
      const model = randomModel(compiler, config);
      const generator = createGenerator(model, { maxBatch: batch });
      const work = { batch, prompt: context - steps, newTokens: steps, vocabSize: config.vocabSize };
      await runGeneration(generator, work);
      const { stepMs } = await runGeneration(generator, work);
      generator.dispose();
      model.dispose();
      measured.push({ x, costMs: median(stepMs), gflop: (batch * flopPerToken(config, context)) / 1e9 });
    }
    return { threads, points: measured };
  });
}
