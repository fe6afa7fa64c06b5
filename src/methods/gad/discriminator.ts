/** What tells the teacher's responses from the student's: a network from a prompt with a response to one score. */
import type { Compiler } from '../../engine/compiler.js';
import type { GraphBuilder } from '../../engine/graph/builder.js';
import { attention, gatherRows, matmul, reshape } from '../../engine/graph/ops.js';
import type { Value } from '../../engine/graph/types.js';
import type { Tensor, TensorMap } from '../../engine/runtime/types.js';
import type { ParameterSpec, TransformerConfig } from '../../model/config.js';
import { attentionScale, declareDecoderInput, decoderHidden, SCALAR_HEAD, type Weights } from '../../model/decoder.js';
import type { LanguageModel } from '../../model/language-model.js';
import { initialParameter, parameterSpecs } from '../../model/parameters.js';
import { rotaryTables } from '../../model/rotary-tables.js';
import { sha256OfJson } from '../../support/hash.js';
import { fillTokens, type MicroBatch } from '../../training/batches.js';
import type { NamedArrays } from '../../training/bound-batches.js';
import type { BatchShape, TensorTypes } from '../../training/objective.js';

/** A prompt with a response. */
export interface ScoredRow {
  readonly tokens: readonly number[];
  /** Index of the first token of the response. */
  readonly responseStart: number;
}

/** What of a row the scalar head reads: the last token's features, or those of the response's tokens on average. */
export type Readout = 'last' | 'mean';

/** The parts of a network that gives scores; `SCALAR_HEAD` [1, F] is among its parameters. */
export interface Discriminator {
  readonly compiler: Compiler;
  /** Identifies the architecture: equal keys build equal graphs. */
  readonly key: string;
  readonly parameters: ReadonlyMap<string, Tensor<'float32'>>;
  /** F: numbers that the scalar head reads. */
  readonly featureWidth: number;
  /** Longest row in tokens. */
  readonly maxLength: number;
  /** Tensors of the graph beside the parameters. */
  tensors(time: number): TensorMap;
  /** Inputs of a batch, and what writes them. */
  inputs(shape: BatchShape): TensorTypes;
  fill(rows: readonly ScoredRow[], part: MicroBatch, arrays: NamedArrays): void;
  /** Declares the inputs; `embedded` are the tokens as vectors [B·T, C], `features` [B, F]. */
  build(g: GraphBuilder, shape: BatchShape, weights: Weights): { readonly embedded: Value; readonly features: Value };
  dispose(): void;
}

type Random = Parameters<typeof initialParameter>[2];

/**
 * A decoder whose hidden states are scored: the last of a row, or their mean over the response. With `from` its parameters are copied, so that it starts with what that
 * model knows; without, they are fresh. The head is fresh in any case.
 */
export function createTransformerDiscriminator(
  compiler: Compiler,
  options: {
    config: TransformerConfig;
    from?: LanguageModel | undefined;
    readout?: Readout | undefined;
    random: Random;
  },
): Discriminator {
  const { from, readout = 'last', random } = options;
  // No language head: a tied one has no matrix of its own.
  const config: TransformerConfig = { ...options.config, tiedHead: true };
  const { runtime } = compiler;
  const specs: ParameterSpec[] = [...parameterSpecs(config), { name: SCALAR_HEAD, shape: [1, config.hiddenSize] }];
  const parameters = new Map<string, Tensor<'float32'>>();
  for (const spec of specs) {
    const tensor = runtime.tensor('float32', spec.shape);
    const source = from?.parameters.get(spec.name);
    if (source === undefined) initialParameter(spec, config, random, { into: tensor.data });
    else tensor.data.set(source.data);
    parameters.set(spec.name, tensor);
  }
  const tables = new Map<number, { cos: Tensor<'float32'>; sin: Tensor<'float32'> }>();
  const rotary = (time: number) => {
    const kept = tables.get(time);
    if (kept !== undefined) return kept;
    const { cos, sin } = rotaryTables(config, time);
    const shape = [time, config.headSize / 2];
    const made = { cos: runtime.tensor('float32', shape, cos), sin: runtime.tensor('float32', shape, sin) };
    tables.set(time, made);
    return made;
  };
  return {
    compiler,
    key: `transformer/${readout}/${sha256OfJson(config)}`,
    parameters,
    featureWidth: config.hiddenSize,
    maxLength: config.maxPositions,
    tensors: rotary,
    inputs: ({ batch, time }) => ({
      tokens: { dtype: 'int64', shape: [batch * time] },
      // Of each token in the mean; and row · T + last token.
      ...(readout === 'mean'
        ? { shares: { dtype: 'float32' as const, shape: [batch, 1, time] } }
        : { lastTokens: { dtype: 'int64' as const, shape: [batch] } }),
    }),
    fill(rows, part, arrays) {
      fillTokens(rows, part, arrays.tokens as BigInt64Array);
      if (readout === 'mean') {
        const shares = (arrays.shares as Float32Array).fill(0);
        part.rows.forEach((row, at) => {
          const { tokens, responseStart } = rows[row];
          const share = 1 / (tokens.length - responseStart);
          shares.fill(share, at * part.time + responseStart, at * part.time + tokens.length);
        });
        return;
      }
      const lastTokens = arrays.lastTokens as BigInt64Array;
      for (let at = 0; at < part.batch; at++) {
        const length = at < part.rows.length ? rows[part.rows[at]].tokens.length : 1;
        lastTokens[at] = BigInt(at * part.time + length - 1);
      }
    },
    build(g, { batch, time }, weights) {
      const input = declareDecoderInput(g, config, { batch, time, numPositions: time });
      const scale = attentionScale(config);
      let embedded: Value | undefined;
      const hidden = decoderHidden(g, config, weights, {
        input,
        options: {
          attend: (_, { q, k, v }) => attention(g, q, k, v, scale),
          onLayer: (_, x) => {
            embedded ??= x;
          },
        },
      });
      const { hiddenSize } = config;
      if (readout === 'last')
        return { embedded: embedded!, features: gatherRows(g, hidden, g.input('lastTokens', 'int64', [batch])) };
      const shares = g.input('shares', 'float32', [batch, 1, time]);
      const mean = matmul(g, shares, reshape(g, hidden, [batch, time, hiddenSize])); // [B, 1, C]
      return { embedded: embedded!, features: reshape(g, mean, [batch, hiddenSize]) };
    },
    dispose() {
      for (const tensor of parameters.values()) tensor.dispose();
      for (const { cos, sin } of tables.values()) {
        cos.dispose();
        sin.dispose();
      }
    },
  };
}
