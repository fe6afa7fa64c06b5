/** What this machine reaches: matrix products through the engine, and its memory. */
import { type Compiler, effectivePrecision } from '../engine/compiler.js';
import { linear } from '../engine/graph/ops.js';
import type { Precision } from '../engine/onnx/emitter.js';

export interface MachineRates {
  /** Float32 products, 10⁹ operations a second, on the threads of the compiler. */
  readonly float32Gflops: number;
  /** The same with bfloat16 kernels; null where there are none. */
  readonly bfloat16Gflops: number | null;
  /** Copying a block far larger than the caches, on one thread: 10⁹ bytes a second, read and written bytes both counted. */
  readonly memoryGigabytesPerSecond: number;
}

export interface MeasureOptions {
  /** Time for each of the rates, after one run that does not count. */
  readonly seconds?: number;
  /** Rows, inputs and outputs of the product. */
  readonly size?: number;
}

/** Products in one run, so that what is done once a run (conversion, packing) weighs little. */
const NUM_PRODUCTS = 8;
const COPY_BYTES = 2 ** 28;

/** Measures; takes about `seconds` for each rate. The best of the runs counts: others may use the machine too. */
export async function measureRates(
  compiler: Compiler,
  { seconds = 1, size = 1024 }: MeasureOptions = {},
): Promise<MachineRates> {
  const float32Gflops = await productRate(compiler, 'float32', { seconds, size });
  const hasHalf = effectivePrecision(compiler.runtime, 'bfloat16') === 'bfloat16';
  return {
    float32Gflops,
    bfloat16Gflops: hasHalf ? await productRate(compiler, 'bfloat16', { seconds, size }) : null,
    memoryGigabytesPerSecond: await copyRate(seconds, COPY_BYTES),
  };
}

/** x ← x·wᵀ, several times over; w keeps the size of x as it is. */
async function productRate(
  compiler: Compiler,
  precision: Precision,
  { seconds, size }: Required<MeasureOptions>,
): Promise<number> {
  const { runtime } = compiler;
  const shape = [size, size];
  const wave = (scale: number) => Float32Array.from({ length: size ** 2 }, (_, i) => scale * Math.sin(i * i));
  const x = runtime.tensor('float32', shape, wave(1));
  const w = runtime.tensor('float32', shape, wave(Math.sqrt(2 / size)));
  const y = runtime.tensor('float32', shape);
  const binding = compiler.bind(
    `rate of ${NUM_PRODUCTS} products of ${size}`,
    (g) => {
      const weight = g.input('w', 'float32', shape);
      let value = g.input('x', 'float32', shape);
      for (let i = 0; i < NUM_PRODUCTS; i++) value = linear(g, value, weight);
      g.output('y', value);
    },
    { x, w, y },
    { precision },
  );
  try {
    const bestMs = await bestTimeMs(seconds, () => binding.run());
    return (2 * size ** 3 * NUM_PRODUCTS) / bestMs / 1e6;
  } finally {
    for (const resource of [binding, x, w, y]) resource.dispose();
  }
}

async function copyRate(seconds: number, bytes: number): Promise<number> {
  const from = new Float64Array(bytes / 8).fill(1);
  const to = new Float64Array(bytes / 8);
  return (2 * bytes) / (await bestTimeMs(seconds, () => to.set(from))) / 1e6;
}

async function bestTimeMs(seconds: number, run: () => Promise<void> | void): Promise<number> {
  await run();
  let bestMs = Number.POSITIVE_INFINITY;
  const end = performance.now() + seconds * 1000;
  do {
    const started = performance.now();
    await run();
    bestMs = Math.min(bestMs, performance.now() - started);
  } while (performance.now() < end);
  return bestMs;
}
