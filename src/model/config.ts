/** One description of every decoder this program runs; a model family is a row of `families.ts`, not code of its own. */

/** Rotary-embedding frequencies: base^(-2i/D), then scaled. */
export type RopeScaling =
  | { readonly kind: 'none' }
  /** Every frequency divided by `factor`. */
  | { readonly kind: 'linear'; readonly factor: number }
  /** Llama 3.1: low frequencies divided by `factor`, high ones kept, a smooth band between. */
  | {
      readonly kind: 'llama3';
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalMaxPositions: number;
    };

export interface TransformerConfig {
  /** `model_type` of the published configuration: llama, qwen2, qwen3. */
  readonly family: string;
  /** Rows of the embedding matrix; may exceed the number of tokens (padding rows are never sampled). */
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numLayers: number;
  readonly numHeads: number;
  readonly numKvHeads: number;
  /** Width of one head; independent of hiddenSize / numHeads. */
  readonly headSize: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling;
  /** Longest context the model was made for, in tokens. */
  readonly maxPositions: number;
  /** Bias on the q, k and v projections. */
  readonly qkvBias: boolean;
  /** Bias on the attention's output projection. */
  readonly outputBias: boolean;
  /** Bias on the three MLP projections. */
  readonly mlpBias: boolean;
  /** RMSNorm over each query and key head before the rotary embedding. */
  readonly qkNorm: boolean;
  /** The output head is the embedding matrix. */
  readonly tiedHead: boolean;
  readonly bosTokenId: number | undefined;
  /** Any of these ends a sequence. */
  readonly eosTokenIds: readonly number[];
  readonly padTokenId: number | undefined;
  /** Standard deviation of fresh weights. */
  readonly initializerRange: number;
}

/** Name (as in the published checkpoint) and shape of one parameter. */
export interface ParameterSpec {
  readonly name: string;
  readonly shape: readonly number[];
}
