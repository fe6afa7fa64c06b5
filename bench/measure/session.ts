/** What every measurement begins and ends with. */
import { type Compiler, createCompiler } from '../../src/engine/compiler.js';
import type { Precision } from '../../src/engine/onnx/emitter.js';
import { openRuntime } from '../../src/engine/runtime/open.js';
import type { TransformerConfig } from '../../src/model/config.js';
import { createModel, type LanguageModel } from '../../src/model/language-model.js';
import { createRandom } from '../../src/support/random.js';
import { peakRssBytes } from './peak-memory.js';

interface Session {
  readonly runtime: string;
  /** Level of the native kernels. */
  readonly kernels: string;
  readonly precision: Precision;
  readonly peakRssBytes: number;
}

/** Runs `work` with a compiler of `threads` threads and adds to its numbers what the process took. */
export async function withCompiler<T extends object>(
  threads: number,
  work: (compiler: Compiler) => Promise<T>,
  precision: Precision = 'float32',
): Promise<T & Session> {
  const runtime = openRuntime({ threads });
  const compiler = createCompiler(runtime, { precision });
  try {
    const sample = await work(compiler);
    return {
      ...sample,
      runtime: `${runtime.kind} ${runtime.version}`,
      kernels: runtime.kernels.level,
      precision: compiler.precision,
      peakRssBytes: peakRssBytes(),
    };
  } finally {
    compiler.dispose();
    runtime.dispose();
  }
}

/** Random weights, the same in every run. */
export const randomModel = (compiler: Compiler, config: TransformerConfig): LanguageModel =>
  createModel(compiler, config, createRandom(1));

/** Ids drawn evenly from the vocabulary. */
export function randomTokens(count: number, vocabSize: number, seed: number | string = 2): number[] {
  const random = createRandom(seed);
  return Array.from({ length: count }, () => random.integer(vocabSize));
}
