/**
 * The closed list of ops. Every table of the engine (shapes, differentiation, lowering, the tests' float64 reference) has one
 * row for each, checked by the compiler. Letters: docs/notation.md. A name ending in `Backward` or `Gradient` is the
 * cotangent of an op, one ending in `Tangent` its forward-mode derivative.
 */
import type { Dtype, Shape } from './tensor-type.js';

type None = Readonly<Record<never, never>>;

export interface OpParams {
  // --- elementwise, with broadcasting: (a, b) → c
  add: None;
  subtract: None;
  multiply: None;
  divide: None;
  minimum: None;
  maximum: None;
  /** (a, b) → bool */
  lessOrEqual: None;
  /** (condition bool, a, b) → a where the condition holds, else b */
  select: None;
  // --- elementwise: x → y
  negate: None;
  exponential: None;
  logarithm: None;
  squareRoot: None;
  sigmoid: None;
  cast: { readonly dtype: Dtype };

  // --- shape
  /** () → every element `value` */
  fill: { readonly shape: Shape; readonly value: number };
  reshape: { readonly shape: Shape };
  transpose: { readonly permutation: readonly number[] };
  concat: { readonly axis: number };
  /** Elements start…end−1 along an axis. */
  slice: { readonly axis: number; readonly start: number; readonly end: number };
  broadcast: { readonly shape: Shape };
  /** (x, token) → x, computed no earlier than `token`: orders recomputation behind what triggers it. */
  after: None;
  /** x → x, a constant to differentiation: derivatives of it are zero. */
  detach: None;

  // --- reductions and products
  reduceSum: { readonly axes: readonly number[]; readonly keepDims: boolean };
  reduceMax: { readonly axes: readonly number[]; readonly keepDims: boolean };
  /** (a [..., m, k], b [..., k, n]) → alpha · a·b [..., m, n]; transposes act on the last two axes. */
  matmul: { readonly transposeA: boolean; readonly transposeB: boolean; readonly alpha: number };
  /** Over the last axis. */
  softmax: None;
  /** Over the last axis. */
  logSoftmax: None;
  /** Running sum over the last axis. */
  cumulativeSum: None;

  // --- indexing
  /** (table [R, C], ids [N] int64) → [N, C] */
  gatherRows: None;
  /** (base [R, C], ids [N], rows [N, C]) → base with rows added at ids; repeated ids add up, in order. */
  scatterAddRows: None;
  /** (x [N, V], ids [N, M] int64) → [N, M], along the last axis. */
  gatherElements: None;
  /** (x [N, V], ids [N, M], values [N, M]) → x with values written; repeated ids must carry equal values. */
  scatterElements: None;
  /** x [N, V] → values [N, k] descending, ids [N, k] int64 */
  topK: { readonly k: number };
  /** x [N, V] → [N] int64, the first of equals */
  argMax: None;

  // --- the large steps of a transformer
  /** (x [N, I], w [O, I], bias? [O]) → x·wᵀ + bias [N, O] */
  linear: None;
  /** (dy [N, O], w [O, I]) → dy·w [N, I] */
  linearInputGradient: None;
  /** (dy [N, O], x [N, I]) → dyᵀ·x [O, I] */
  linearWeightGradient: None;

  /** (x [N, C], g [C]) → y = g·x·r [N, C], r = 1/√(mean x² + epsilon) [N, 1] */
  rmsNorm: { readonly epsilon: number };
  /** (x, g, r, dy) → dx [N, C], dg [C] */
  rmsNormBackward: None;
  /** (x, g, r, tx, tg) → ty [N, C] */
  rmsNormTangent: None;

  /** (gate [N, F], up [N, F]) → gate·σ(gate)·up */
  swiglu: None;
  /** (gate, up, dy) → dgate, dup */
  swigluBackward: None;
  /** (gate, up, tgate, tup) → ty */
  swigluTangent: None;

  /**
   * (x [B, T, H, D], positions [B, T] int64, cos [P, D/2], sin [P, D/2]) → pairs (i, i + D/2) rotated by the angle of the
   * position; `inverse` rotates back (its transpose).
   */
  rotary: { readonly inverse: boolean };

  /**
   * Causal, grouped-query: (q [B, T, H, D], k [B, T, K, D], v [B, T, K, D]) → o [B, T, H, D]. Query head h reads key/value head
   * ⌊h·K/H⌋; position t reads 0…t, so padding on the right never reaches what stands before it.
   */
  attention: { readonly scale: number };
  /** (q, k, v, o, do) → dq, dk, dv */
  attentionBackward: { readonly scale: number };
  /** (q, k, v, o, tq, tk, tv) → to */
  attentionTangent: { readonly scale: number };

  /**
   * One step or one chunk against a cache: (q [B, T, H, D], k [B, T, K, D], v, cacheK [B, K, S, D], cacheV, lengths [B] int32,
   * total [1] int32) → o [B, T, H, D], cacheK', cacheV'. Row b holds lengths[b] tokens once its new ones are in. T = 1: the new
   * one stands at lengths[b] − 1. T > 1 and B = 1: a chunk, its last token at lengths[0] − 1. T > 1 and B > 1: first chunks,
   * each row starts at 0 and is padded on the right. `total` is the greatest length (T for first chunks). A bfloat16 cache
   * [B, K, S, W] has W = D rounded up to 32 and an order of its own (kernels/decode_attention_half.c).
   */
  cachedAttention: { readonly scale: number; readonly firstChunk: boolean };
  /** (q, cacheK', cacheV', lengths, tq, tk, tv, tCacheK [B, K, S, D], tCacheV) → to, tCacheK', tCacheV' */
  cachedAttentionTangent: { readonly scale: number; readonly firstChunk: boolean };

  /**
   * Language-model head with cross-entropy: (x [N, C], w [V, C], targets [N] int64, weights [N]) →
   * loss [] = Σ weights·nll, nll [N] = −log softmax(x·wᵀ)[target].
   */
  headLoss: None;
  /** (x, w, targets, weights) → dx [N, C], dw [V, C] of that loss */
  headLossBackward: None;

  /**
   * AdamW over all tensors with clipping by their global norm. Inputs: learningRate [], biasCorrection1 [] = 1 − β₁ᵗ,
   * biasCorrection2 [] = 1 − β₂ᵗ, maxNorm [] (∞: no clipping), then p…, g…, m…, v… (n each). Outputs: norm [] of the unclipped
   * gradient, then p'…, m'…, v'…:
   * g ← g·min(1, maxNorm/(norm + 1e-6)); p ← p·(1 − lr·decay); m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²;
   * p ← p − lr/c₁ · m/(√v/√c₂ + ε).
   */
  adamw: {
    readonly beta1: number;
    readonly beta2: number;
    readonly epsilon: number;
    /** Weight decay of each tensor. */
    readonly decays: readonly number[];
  };
}

export type OpKind = keyof OpParams;
