/** Training steps of one shape. */
import type { Compiler } from '../../src/engine/compiler.js';
import type { Precision } from '../../src/engine/onnx/emitter.js';
import { countParameters } from '../../src/model/parameters.js';
import { withCompiler } from './session.js';
import { type ShapeName, shapeOf } from './shapes.js';
import { medianAndBest, timeRepeatedly } from './timing.js';
import { createTrainer } from './trainer.js';

interface Options {
  readonly shape: ShapeName;
  readonly threads: number;
  readonly seconds: number;
  readonly precision: Precision;
  /** Of adapters, which are trained alone; none: all weights. */
  readonly rank?: number;
}

export function measure(options: Options): Promise<object> {
  const work = async (compiler: Compiler) => {
    const shape = shapeOf(options.shape);
    const started = performance.now();
    const trainer = createTrainer(compiler, { ...shape, rank: options.rank });
    const firstLossNats = await trainer.step();
    const firstStepMs = performance.now() - started;
    let lastLossNats = firstLossNats;
    const durations = await timeRepeatedly(
      async () => {
        lastLossNats = await trainer.step();
      },
      { seconds: options.seconds },
    );
    const { medianMs, bestMs } = medianAndBest(durations);
    const numParameters = countParameters(shape.config);
    const numTokens = shape.batch * shape.time;
    trainer.dispose();
    return {
      ...options,
      numParameters,
      numSteps: durations.length,
      // 2 forward and 4 backward for each parameter and token, 2 backward beside adapters; attention is not counted, which flatters nobody.
      gflops: ((options.rank === undefined ? 6 : 4) * numParameters * numTokens) / medianMs / 1e6,
      tokensPerSecond: (numTokens / medianMs) * 1000,
      tokensPerSecondBest: (numTokens / bestMs) * 1000,
      firstStepMs,
      firstLossNats,
      lastLossNats,
    };
  };
  return withCompiler(options.threads, work, options.precision);
}
