/** Spectral normalisation: matrices of the discriminator keep the largest singular value they began with. */
import type { GraphBuilder } from '../../engine/graph/builder.js';
import { divide, matmul, multiply, reshape } from '../../engine/graph/ops.js';
import type { Value } from '../../engine/graph/types.js';
import type { Runtime, Tensor, TensorMap } from '../../engine/runtime/types.js';

export interface SpectralState {
  /** Inputs of the graph, and state of a checkpoint: for each matrix the two singular vectors and the first singular value. */
  readonly tensors: ReadonlyMap<string, Tensor<'float32'>>;
  /** One round of power iteration on the matrices as they stand. */
  iterate(): void;
  /** The matrix at its first largest singular value: W·σ₀/(uᵀWv). Gradients pass W in both places, u and v are constants. */
  normalize(g: GraphBuilder, name: string, weight: Value): Value;
  dispose(): void;
}

const FIRST_ROUNDS = 20;

/**
 * Prepares the normalisation of every linear weight among `parameters`; embeddings, norms and biases stay as they are.
 * Differs from the paper (Miyato et al. 2018, arXiv 1802.05957), which divides by σ: a copy of the student would no longer be one.
 */
export function createSpectralState(
  runtime: Runtime,
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  random: { normal(): number },
): SpectralState {
  const matrices = [...parameters].filter(([name, { shape }]) => shape.length === 2 && !name.includes('embed'));
  const tensors = new Map<string, Tensor<'float32'>>();
  const vectorsOf = (name: string) => ({
    left: tensors.get(`spectral.left.${name}`)!,
    right: tensors.get(`spectral.right.${name}`)!,
    first: tensors.get(`spectral.first.${name}`)!,
  });
  const iterate = () => {
    for (const [name, weight] of matrices) {
      const { left, right } = vectorsOf(name);
      powerIteration(weight, left.data, right.data);
    }
  };
  for (const [name, weight] of matrices) {
    const [rows, columns] = weight.shape;
    const start = Float32Array.from({ length: rows }, () => random.normal());
    tensors.set(`spectral.left.${name}`, runtime.tensor('float32', [1, rows], start));
    tensors.set(`spectral.right.${name}`, runtime.tensor('float32', [columns, 1]));
    tensors.set(`spectral.first.${name}`, runtime.tensor('float32', []));
  }
  for (let round = 0; round < FIRST_ROUNDS; round++) iterate();
  for (const [name, weight] of matrices) {
    const { left, right, first } = vectorsOf(name);
    first.data[0] = powerIteration(weight, left.data, right.data);
  }
  const normalized = new Set(matrices.map(([name]) => name));
  return {
    tensors,
    iterate,
    normalize(g, name, weight) {
      if (!normalized.has(name)) return weight;
      const [rows, columns] = weight.shape;
      const left = g.input(`spectral.left.${name}`, 'float32', [1, rows]);
      const right = g.input(`spectral.right.${name}`, 'float32', [columns, 1]);
      const first = g.input(`spectral.first.${name}`, 'float32', []);
      const largest = reshape(g, matmul(g, matmul(g, left, weight), right), []);
      return multiply(g, weight, divide(g, first, largest));
    },
    dispose() {
      for (const tensor of tensors.values()) tensor.dispose();
    },
  };
}

/** The tensors as a graph takes them. */
export const spectralInputs = (state: SpectralState | undefined): TensorMap =>
  state === undefined ? {} : Object.fromEntries(state.tensors);

/** v ← Wᵀu/‖Wᵀu‖, u ← Wv/‖Wv‖, in place; gives ‖Wv‖, which approaches the largest singular value from below. */
function powerIteration(weight: Tensor<'float32'>, left: Float32Array, right: Float32Array): number {
  const { data } = weight;
  const columns = right.length;
  right.fill(0);
  left.forEach((value, row) => {
    for (let column = 0; column < columns; column++) right[column] += value * data[row * columns + column];
  });
  normalizeVector(right);
  for (let row = 0; row < left.length; row++) {
    let sum = 0;
    for (let column = 0; column < columns; column++) sum += data[row * columns + column] * right[column];
    left[row] = sum;
  }
  return normalizeVector(left);
}

/** Scales to length 1 in place and gives the length before; a vector of zeros stays. */
function normalizeVector(vector: Float32Array): number {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  if (length > 0) for (let index = 0; index < vector.length; index++) vector[index] /= length;
  return length;
}
