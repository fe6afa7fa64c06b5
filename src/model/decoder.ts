/** The layers of a decoder as a graph. Training, scoring and decoding differ only in the attention they hand in. */
import type { GraphBuilder } from '../engine/graph/builder.js';
import { add, gatherRows, linear, multiply, reshape, rmsNorm, rotary, scalar, swiglu } from '../engine/graph/ops.js';
import type { Value } from '../engine/graph/types.js';
import { invariant } from '../support/errors.js';
import type { TransformerConfig } from './config.js';
import { type LoraConfig, loraNames, loraTargets } from './lora.js';
import { EMBEDDING, FINAL_NORM, headParameterName, parameterSpecs } from './parameters.js';

/** Parameters by their checkpoint names. */
export type Weights = ReadonlyMap<string, Value>;

/** Declares every parameter (and adapter) of a model as an input of the graph, named as in the checkpoint. */
export function declareWeights(g: GraphBuilder, config: TransformerConfig, lora?: LoraConfig): Map<string, Value> {
  const specs = [
    ...parameterSpecs(config),
    ...(lora === undefined ? [] : loraTargets(config, lora).flatMap(loraNames)),
  ];
  return new Map(specs.map(({ name, shape }) => [name, g.input(name, 'float32', shape)]));
}

export interface DecoderInput {
  /** [B·T] int64, row after row. */
  readonly tokens: Value;
  /** [B, T] int64, the absolute position of each token. */
  readonly positions: Value;
  /** [P, D/2] */
  readonly cos: Value;
  readonly sin: Value;
}

/** Declares the inputs of B rows of T tokens: tokens, positions, and cos and sin of P positions. */
export function declareDecoderInput(
  g: GraphBuilder,
  config: TransformerConfig,
  { batch, time, numPositions }: { batch: number; time: number; numPositions: number },
): DecoderInput {
  const half = config.headSize / 2;
  return {
    tokens: g.input('tokens', 'int64', [batch * time]),
    positions: g.input('positions', 'int64', [batch, time]),
    cos: g.input('cos', 'float32', [numPositions, half]),
    sin: g.input('sin', 'float32', [numPositions, half]),
  };
}

export interface DecoderOptions {
  /** q [B, T, H, D], k and v [B, T, K, D], rotated → [B, T, H, D]. */
  attend(layer: number, heads: { q: Value; k: Value; v: Value }): Value;
  readonly lora?: LoraConfig | undefined;
  /** Called with the residual stream [B·T, C] as it enters each layer and, last, as it leaves the layers. */
  onLayer?: ((layer: number, x: Value) => void) | undefined;
}

/** 1/√D, the scale of attention scores. */
export const attentionScale = (config: TransformerConfig): number => 1 / Math.sqrt(config.headSize);

/** y = x·Wᵀ (+ b) (+ alpha/rank · (x·Aᵀ)·Bᵀ where the module carries an adapter). */
function project(
  g: GraphBuilder,
  weights: Weights,
  x: Value,
  place: { module: string; lora?: LoraConfig | undefined },
): Value {
  const { module, lora } = place;
  const weight = weights.get(`${module}.weight`);
  invariant(weight !== undefined, `no parameter ${module}.weight`);
  const y = linear(g, x, weight, weights.get(`${module}.bias`));
  const a = weights.get(`${module}.lora_A.weight`);
  const b = weights.get(`${module}.lora_B.weight`);
  if (lora === undefined || a === undefined || b === undefined) return y;
  return add(g, y, multiply(g, linear(g, linear(g, x, a), b), scalar(g, lora.alpha / lora.rank)));
}

/** Final hidden states [B·T, C], normalised, ready for a head. */
export function decoderHidden(
  g: GraphBuilder,
  config: TransformerConfig,
  weights: Weights,
  { input, options }: { input: DecoderInput; options: DecoderOptions },
): Value {
  const { numHeads, numKvHeads, headSize, rmsNormEps } = config;
  const [batch, time] = input.positions.shape;
  const weightOf = (name: string): Value => {
    const weight = weights.get(name);
    invariant(weight !== undefined, `no parameter ${name}`);
    return weight;
  };
  const norm = (x: Value, name: string) => rmsNorm(g, x, weightOf(name), rmsNormEps);
  /** [B·T, n·D] → [B, T, n, D], each head normalised if the family does so. */
  const heads = (x: Value, n: number, normName: string | undefined) => {
    const flat = normName === undefined ? x : norm(reshape(g, x, [batch * time * n, headSize]), normName);
    return reshape(g, flat, [batch, time, n, headSize]);
  };

  let x = gatherRows(g, weightOf(EMBEDDING), input.tokens); // [B·T, C]
  for (let layer = 0; layer < config.numLayers; layer++) {
    options.onLayer?.(layer, x);
    const prefix = `model.layers.${layer}`;
    const linearOf = (value: Value, module: string) =>
      project(g, weights, value, { module: `${prefix}.${module}`, lora: options.lora });
    const normName = (name: string) => (config.qkNorm ? `${prefix}.self_attn.${name}.weight` : undefined);

    const h = norm(x, `${prefix}.input_layernorm.weight`);
    const q = rotary(g, heads(linearOf(h, 'self_attn.q_proj'), numHeads, normName('q_norm')), input);
    const k = rotary(g, heads(linearOf(h, 'self_attn.k_proj'), numKvHeads, normName('k_norm')), input);
    const v = heads(linearOf(h, 'self_attn.v_proj'), numKvHeads, undefined);
    const attended = reshape(g, options.attend(layer, { q, k, v }), [batch * time, numHeads * headSize]);
    x = add(g, x, linearOf(attended, 'self_attn.o_proj'));

    const m = norm(x, `${prefix}.post_attention_layernorm.weight`);
    const gated = swiglu(g, linearOf(m, 'mlp.gate_proj'), linearOf(m, 'mlp.up_proj'));
    x = add(g, x, linearOf(gated, 'mlp.down_proj'));
  }
  options.onLayer?.(config.numLayers, x);
  return norm(x, FINAL_NORM);
}

/** Logits [N, V] of hidden states [N, C]. */
export function languageHead(g: GraphBuilder, config: TransformerConfig, weights: Weights, hidden: Value): Value {
  return linear(g, hidden, headWeight(config, weights));
}

/** The matrix [V, C] of the head: the embedding where it is tied. */
export function headWeight(config: TransformerConfig, weights: Weights): Value {
  const weight = weights.get(headParameterName(config));
  invariant(weight !== undefined, 'the model has no head');
  return weight;
}

/** Checkpoint name of a scalar head. */
export const SCALAR_HEAD = 'score.weight';

/**
 * A score for each row: hidden [B·T, C] at `lastTokens` ([B] int64, flat index of the row's last token) times the scalar
 * head `score.weight` [1, C] → [B, 1].
 */
export function scalarHead(g: GraphBuilder, weights: Weights, hidden: Value, lastTokens: Value): Value {
  const weight = weights.get(SCALAR_HEAD);
  invariant(weight !== undefined, `no parameter ${SCALAR_HEAD}`);
  return linear(g, gatherRows(g, hidden, lastTokens), weight);
}
