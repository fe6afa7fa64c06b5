/** Δ of every id after every token of given rows, as a sampler sees it: through the cached steps of decoding. */
import type { Precision } from '../../src/engine/onnx/emitter.js';
import type { Tensor } from '../../src/engine/runtime/types.js';
import { derivativeReader } from '../../src/inference/derivatives.fixture.js';
import type { Sequence } from '../../src/inference/sequence.js';
import { createStepRunner } from '../../src/inference/step-runner.js';
import { perturbedModel } from '../../src/methods/antidistillation/perturb.js';
import { directionReader } from '../../src/methods/antidistillation/small-panels.js';
import type { LanguageModel } from '../../src/model/language-model.js';

export interface ReadRow {
  readonly tokens: readonly number[];
  readonly responseStart: number;
}

/** How Δ is computed. `epsilon`: the step of a central difference; without one the exact derivative. */
export interface Estimation {
  readonly precision: Precision;
  readonly epsilon?: number | undefined;
}

type Gradient = ReadonlyMap<string, Float32Array>;

/** Of each response token of each row, in order, the numbers [V] of the runner before it. */
async function readSteps(
  model: LanguageModel,
  rows: readonly ReadRow[],
  options: { precision: Precision; direction?: ReadonlyMap<string, Tensor<'float32'>> },
): Promise<Float32Array[]> {
  const { vocabSize } = model.config;
  const longest = Math.max(...rows.map(({ tokens }) => tokens.length));
  const runner = createStepRunner(model, { maxBatch: rows.length, maxCacheBytes: 2 ** 32, ...options });
  // Rows that have ended repeat their last token; nothing of that is read.
  const sequences = rows.map(({ tokens }) => ({
    promptTokens: Array.from({ length: longest }, (_, index) => tokens[Math.min(index, tokens.length - 1)]),
    tokens: [],
  })) as unknown as Sequence[];
  const { direction, precision } = options;
  // Of logits, whose head is the one that a sampler computes: a constant of a position changes no draw.
  const reader =
    direction && derivativeReader(model, direction, { runner, batch: rows.length, precision, of: 'logits' });
  const found: Float32Array[][] = rows.map(() => []);
  try {
    runner.ensure({ slots: rows.length, capacity: longest }, []);
    for (let step = 0; step < longest - 1; step++) {
      await runner.decode(
        rows.length,
        sequences,
        rows.map(() => step),
      );
      const data = await (reader?.read() ?? runner.results(rows.length).logits.data);
      for (const [row, { tokens, responseStart }] of rows.entries()) {
        if (step + 1 < Math.max(1, responseStart) || step + 1 >= tokens.length) continue;
        found[row].push(data.slice(row * vocabSize, (row + 1) * vocabSize));
      }
    }
    return found.flat();
  } finally {
    reader?.dispose();
    runner.dispose();
  }
}

/** Logits of the model itself. */
export const logitsOf = (model: LanguageModel, rows: readonly ReadRow[], precision: Precision) =>
  readSteps(model, rows, { precision });

/** Δ along the gradient, in its units. */
export async function deltasOf(
  model: LanguageModel,
  gradient: Gradient,
  { rows, how: { precision, epsilon } }: { rows: readonly ReadRow[]; how: Estimation },
): Promise<Float32Array[]> {
  if (epsilon === undefined) {
    const { runtime } = model.compiler;
    // As a defence has it.
    const read = directionReader(model, precision, (name, into) => into.set(gradient.get(name)!));
    const direction = new Map(
      [...model.parameters].map(([name, { shape }]) => [name, runtime.lazy(shape, (into) => read(name, into))]),
    );
    try {
      return await readSteps(model, rows, { precision, direction });
    } finally {
      for (const tensor of direction.values()) tensor.dispose();
    }
  }
  const moved = async (step: number) => {
    const copy = perturbedModel(model, gradient, step);
    try {
      return await readSteps(copy, rows, { precision });
    } finally {
      copy.dispose();
    }
  };
  const [ahead, behind] = [await moved(epsilon), await moved(-epsilon)];
  return ahead.map((logits, index) => difference(logits, behind[index], 1 / (2 * epsilon)));
}

/** slope · (log softmax a − log softmax b). */
function difference(a: Float32Array, b: Float32Array, slope: number): Float32Array {
  const shift = logSum(b) - logSum(a);
  return a.map((value, id) => slope * (value - b[id] + shift));
}

/** ln Σ exp. */
export function logSum(values: ArrayLike<number>): number {
  let most = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < values.length; id++) most = Math.max(most, values[id]);
  let sum = 0;
  for (let id = 0; id < values.length; id++) sum += Math.exp(values[id] - most);
  return most + Math.log(sum);
}
