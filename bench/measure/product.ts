/** The yardstick: a 1024 × 1024 by 1024 × 1024 float32 product through the runtime. */
import { matmul } from '../../src/engine/graph/ops.js';
import { createRandom } from '../../src/support/random.js';
import { withCompiler } from './session.js';
import { medianAndBest, timeRepeatedly } from './timing.js';

const SIZE = 1024;

export function measure({ threads, seconds }: { threads: number; seconds: number }): Promise<object> {
  return withCompiler(threads, async (compiler) => {
    const { runtime } = compiler;
    const random = createRandom(1);
    const shape = [SIZE, SIZE];
    const filled = () => runtime.tensor('float32', shape, Float32Array.from({ length: SIZE ** 2 }, random.uniform));
    const tensors = { a: filled(), b: filled(), c: runtime.tensor('float32', shape) };
    const binding = compiler.bind(
      'product',
      (g) => g.output('c', matmul(g, g.input('a', 'float32', shape), g.input('b', 'float32', shape))),
      tensors,
    );
    const [started, cpu] = [performance.now(), process.cpuUsage()];
    const { medianMs, bestMs } = medianAndBest(await timeRepeatedly(() => binding.run(), { seconds, least: 10 }));
    const { user, system } = process.cpuUsage(cpu);
    const cpuOverWall = (user + system) / 1000 / (performance.now() - started);
    const rate = (ms: number) => (2 * SIZE ** 3) / ms / 1e6;
    // Below the number of threads: others had the processor meanwhile.
    return { threads, cpuOverWall, gflops: rate(medianMs), gflopsBest: rate(bestMs) };
  });
}
