/** Training steps at several sizes, in turn, in one process. */
import { median } from '../../src/support/statistics.js';
import { withCompiler } from './session.js';
import { flopPerToken, type ShapeName, shapeOf, withVocabulary } from './shapes.js';
import { createTrainer } from './trainer.js';

export interface TrainPoint {
  /** The size that changes. */
  readonly x: number;
  readonly shape: ShapeName;
  readonly vocab?: number;
  readonly batch: number;
  readonly time: number;
}

interface TrainScalingOptions {
  readonly points: readonly TrainPoint[];
  readonly threads: number;
  readonly steps: number;
}

/** Forward once, backward twice. */
const PASSES = 3;

export function measure({ points, threads, steps }: TrainScalingOptions): Promise<object> {
  return withCompiler(threads, async (compiler) => {
    const measured: { x: number; costMs: number; gflop: number }[] = [];
    for (const { x, shape, vocab, batch, time } of points) {
      const config = vocab === undefined ? shapeOf(shape).config : withVocabulary(shape, vocab);
      const trainer = createTrainer(compiler, { config, batch, time });
      await trainer.step();
      await trainer.step();
      const durations: number[] = [];
      for (let index = 0; index < steps; index++) {
        const started = performance.now();
        await trainer.step();
        durations.push(performance.now() - started);
      }
      trainer.dispose();
      const gflop = (PASSES * batch * time * flopPerToken(config, time)) / 1e9;
      measured.push({ x, costMs: median(durations), gflop });
    }
    return { threads, points: measured };
  });
}
