import { invariant } from '../support/errors.js';
import type { ParameterSpec, TransformerConfig } from './config.js';

export const EMBEDDING = 'model.embed_tokens.weight';
const HEAD = 'lm_head.weight';
/** Gain of the norm between the layers and the head. */
export const FINAL_NORM = 'model.norm.weight';

/** Name of the matrix that turns the last hidden state into logits: the embedding itself where the head is tied. */
export function headParameterName(config: TransformerConfig): string {
  return config.tiedHead ? EMBEDDING : HEAD;
}

/**
 * Every parameter of the model, named as in a published checkpoint and in its order. Matrices are `[out, in]`, the embedding
 * `[V, C]`, the query projection `[H·D, C]`, keys and values `[K·D, C]`, query and key norms `[D]`. A tied head has no entry.
 */
export function parameterSpecs(config: TransformerConfig): ParameterSpec[] {
  const { hiddenSize, intermediateSize, headSize, numLayers } = config;
  const queryWidth = config.numHeads * headSize;
  const keyWidth = config.numKvHeads * headSize;
  const specs: ParameterSpec[] = [{ name: EMBEDDING, shape: [config.vocabSize, hiddenSize] }];
  function linear(name: string, outputs: number, inputs: number, hasBias: boolean): void {
    specs.push({ name: `${name}.weight`, shape: [outputs, inputs] });
    if (hasBias) specs.push({ name: `${name}.bias`, shape: [outputs] });
  }
  for (let layer = 0; layer < numLayers; layer++) {
    const prefix = `model.layers.${layer}`;
    linear(`${prefix}.self_attn.q_proj`, queryWidth, hiddenSize, config.qkvBias);
    linear(`${prefix}.self_attn.k_proj`, keyWidth, hiddenSize, config.qkvBias);
    linear(`${prefix}.self_attn.v_proj`, keyWidth, hiddenSize, config.qkvBias);
    linear(`${prefix}.self_attn.o_proj`, hiddenSize, queryWidth, config.outputBias);
    if (config.qkNorm) {
      specs.push({ name: `${prefix}.self_attn.q_norm.weight`, shape: [headSize] });
      specs.push({ name: `${prefix}.self_attn.k_norm.weight`, shape: [headSize] });
    }
    linear(`${prefix}.mlp.gate_proj`, intermediateSize, hiddenSize, config.mlpBias);
    linear(`${prefix}.mlp.up_proj`, intermediateSize, hiddenSize, config.mlpBias);
    linear(`${prefix}.mlp.down_proj`, hiddenSize, intermediateSize, config.mlpBias);
    specs.push({ name: `${prefix}.input_layernorm.weight`, shape: [hiddenSize] });
    specs.push({ name: `${prefix}.post_attention_layernorm.weight`, shape: [hiddenSize] });
  }
  specs.push({ name: FINAL_NORM, shape: [hiddenSize] });
  if (!config.tiedHead) specs.push({ name: HEAD, shape: [config.vocabSize, hiddenSize] });
  return specs;
}

/** Number of weights; a tied head counts once. */
export function countParameters(config: TransformerConfig): number {
  return parameterSpecs(config).reduce((sum, { shape }) => sum + sizeOfShape(shape), 0);
}

/** Elements of a tensor. */
export function sizeOfShape(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

const GGUF_LAYER_NAMES: Readonly<Record<string, string>> = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
};

const GGUF_NAMES: Readonly<Record<string, string>> = {
  [EMBEDDING]: 'token_embd.weight',
  [FINAL_NORM]: 'output_norm.weight',
  [HEAD]: 'output.weight',
};

/** llama.cpp's name of a parameter: `model.layers.3.mlp.up_proj.weight` is `blk.3.ffn_up.weight`. */
export function ggufNameOf(name: string): string {
  const whole = GGUF_NAMES[name];
  if (whole !== undefined) return whole;
  const [, layer, part, kind] = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? [];
  const mapped = GGUF_LAYER_NAMES[part];
  invariant(mapped, `no GGUF name for parameter ${name}`);
  return `blk.${layer}.${mapped}.${kind}`;
}

/**
 * Fresh weights of one parameter: norms 1, biases 0, everything else normal with mean 0 and standard deviation
 * `initializerRange`, as `transformers` initialises these families.
 * @param options.into memory of the parameter's size to fill instead of new memory
 */
export function initialParameter(
  spec: ParameterSpec,
  config: TransformerConfig,
  random: { normal(): number },
  options: { into?: Float32Array } = {},
): Float32Array {
  const values = options.into ?? new Float32Array(sizeOfShape(spec.shape));
  invariant(
    values.length === sizeOfShape(spec.shape),
    `initialParameter: ${spec.name} has ${spec.shape.join(' × ')} values`,
  );
  if (spec.name.endsWith('norm.weight')) return values.fill(1);
  if (spec.name.endsWith('.bias')) return values.fill(0);
  for (let index = 0; index < values.length; index++) values[index] = config.initializerRange * random.normal();
  return values;
}
