import { ConfigError, invariant } from '../support/errors.js';
import type { RopeScaling, TransformerConfig } from './config.js';
import { checkConfig, type Fields, fieldsOf, LARGEST, tokenIds } from './config-fields.js';
import { type Family, familyOf, shorten } from './families.js';

/**
 * The description of a model from the content of its `config.json`, in both spellings: `rope_theta`, `rope_scaling` (most
 * published checkpoints) and `rope_parameters` (transformers 5). Keys that change nothing for these families are ignored.
 * @param where name of the file, for messages
 * @throws ModelLoadError for an unknown model type, a missing or absurd size, or a feature that would change the result
 */
export function parseHuggingFaceConfig(json: unknown, where: string): TransformerConfig {
  const fields = fieldsOf(json, where);
  const family = familyOf(fields.get('model_type'), where);
  refuseUnsupported(fields, family);
  const vocabSize = fields.count('vocab_size', LARGEST.vocabSize);
  const hiddenSize = fields.count('hidden_size', LARGEST.width);
  const numHeads = fields.count('num_attention_heads', LARGEST.numHeads);
  const maxPositions = fields.count('max_position_embeddings', LARGEST.maxPositions, family.defaultMaxPositions);
  const bos = fields.has('bos_token_id') ? tokenIds(fields, 'bos_token_id', vocabSize)[0] : family.defaultBosTokenId;
  const eos = fields.has('eos_token_id') ? tokenIds(fields, 'eos_token_id', vocabSize) : family.defaultEosTokenIds;
  return checkConfig(
    {
      family: family.modelType,
      vocabSize,
      hiddenSize,
      intermediateSize: fields.count('intermediate_size', LARGEST.width * 4),
      numLayers: fields.count('num_hidden_layers', LARGEST.numLayers),
      numHeads,
      numKvHeads: kvHeads(fields, family, numHeads),
      headSize: headSize(fields, family, hiddenSize, numHeads),
      rmsNormEps: fields.positive('rms_norm_eps', 1e-6),
      ...rotary(fields, maxPositions),
      maxPositions,
      qkvBias: keyed(fields, family.qkvBias),
      outputBias: keyed(fields, family.outputBias),
      mlpBias: keyed(fields, family.mlpBias),
      qkNorm: family.qkNorm,
      tiedHead: fields.flag('tie_word_embeddings', false),
      bosTokenId: bos !== undefined && bos < vocabSize ? bos : undefined,
      eosTokenIds: eos.filter((id) => id < vocabSize),
      padTokenId: tokenIds(fields, 'pad_token_id', vocabSize)[0],
      initializerRange: fields.positive('initializer_range', 0.02),
    },
    where,
  );
}

function keyed(fields: Fields, rule: boolean | string): boolean {
  return typeof rule === 'string' ? fields.flag(rule, false) : rule;
}

function kvHeads(fields: Fields, family: Family, numHeads: number): number {
  const isNull = fields.has('num_key_value_heads') && fields.get('num_key_value_heads') === undefined;
  const fallback = isNull || family.defaultKvHeads === 'heads' ? numHeads : family.defaultKvHeads;
  return fields.count('num_key_value_heads', LARGEST.numHeads, fallback);
}

function headSize(fields: Fields, family: Family, hiddenSize: number, numHeads: number): number {
  const isNull = fields.has('head_dim') && fields.get('head_dim') === undefined;
  if (!isNull && typeof family.defaultHeadSize === 'number')
    return fields.count('head_dim', LARGEST.headSize, family.defaultHeadSize);
  if (fields.get('head_dim') !== undefined) return fields.count('head_dim', LARGEST.headSize);
  if (hiddenSize % numHeads !== 0)
    fields.fail(
      'hidden_size',
      `${hiddenSize} is not a multiple of num_attention_heads ${numHeads}, and head_dim is missing.`,
    );
  return hiddenSize / numHeads;
}

/** `rope_scaling` wins over `rope_parameters` where both are there, and a theta inside it over the one beside it. */
function rotary(fields: Fields, maxPositions: number): { ropeTheta: number; ropeScaling: RopeScaling } {
  const outerTheta = fields.positive('rope_theta', 10_000);
  const key = isFilled(fields.get('rope_scaling')) ? 'rope_scaling' : 'rope_parameters';
  if (!isFilled(fields.get(key))) return { ropeTheta: outerTheta, ropeScaling: { kind: 'none' } };
  const rope = fieldsOf(fields.get(key), `${fields.where}: ${key}`);
  const ropeTheta = rope.positive('rope_theta', outerTheta);
  const kind = rope.get('rope_type') ?? rope.get('type') ?? 'default';
  if (rope.positive('partial_rotary_factor', 1) !== 1)
    rope.fail('partial_rotary_factor', 'other than 1 is not supported: this program rotates whole heads.');
  if (rope.has('full_attention') || rope.has('sliding_attention'))
    rope.fail('nested by layer type', 'is not supported: all layers must share one rotary embedding.');
  if (kind === 'default') return { ropeTheta, ropeScaling: { kind: 'none' } };
  if (kind === 'linear') return { ropeTheta, ropeScaling: { kind, factor: rope.positive('factor') } };
  if (kind !== 'llama3')
    return rope.fail('rope_type', `${shorten(kind)} is not supported. Supported: default, linear, llama3.`);
  const lowFrequencyFactor = rope.positive('low_freq_factor');
  const highFrequencyFactor = rope.positive('high_freq_factor');
  if (highFrequencyFactor <= lowFrequencyFactor)
    rope.fail('high_freq_factor', `${highFrequencyFactor} must be greater than low_freq_factor ${lowFrequencyFactor}.`);
  const originalMaxPositions = rope.count('original_max_position_embeddings', LARGEST.maxPositions, maxPositions);
  const factor = rope.positive('factor');
  return { ropeTheta, ropeScaling: { kind, factor, lowFrequencyFactor, highFrequencyFactor, originalMaxPositions } };
}

function isFilled(value: unknown): boolean {
  return value !== undefined && !(typeof value === 'object' && value !== null && Object.keys(value).length === 0);
}

/** Refuses what would silently give other numbers than the model's author meant. */
function refuseUnsupported(fields: Fields, family: Family): void {
  const activation = fields.get('hidden_act') ?? 'silu';
  if (activation !== 'silu' && activation !== 'swish')
    fields.fail('hidden_act', `${shorten(activation)} is not supported: the MLP is gated with silu.`);
  if (fields.get('quantization_config') !== undefined)
    fields.fail(
      'quantization_config',
      'is set: quantised safetensors are not supported. Use the unquantised model, or a GGUF file.',
    );
  for (const key of ['num_experts', 'num_local_experts', 'n_routed_experts'])
    if (Number(fields.get(key) ?? 0) > 0) fields.fail(key, 'is set: mixtures of experts are not supported.');
  if (fields.get('partial_rotary_factor') !== undefined && fields.get('partial_rotary_factor') !== 1)
    fields.fail('partial_rotary_factor', 'other than 1 is not supported: this program rotates whole heads.');
  refuseSlidingWindow(fields, family);
}

function refuseSlidingWindow(fields: Fields, family: Family): void {
  const advice = 'is in use: only full attention is supported. Choose a model without a sliding window.';
  const layerTypes = fields.get('layer_types');
  if (Array.isArray(layerTypes) && layerTypes.some((type) => type !== 'full_attention'))
    fields.fail('layer_types', `holds more than full_attention. A sliding window ${advice}`);
  if (family.slidingWindow === 'unless-null') {
    const isNull = fields.has('sliding_window') && fields.get('sliding_window') === undefined;
    if (!isNull)
      fields.fail(
        'sliding_window',
        `(${shorten(fields.get('sliding_window') ?? 4096)} where the key is absent) ${advice}`,
      );
  }
  if (family.slidingWindow !== 'switched' || !fields.flag('use_sliding_window', false)) return;
  const isNull = fields.has('sliding_window') && fields.get('sliding_window') === undefined;
  const firstWindowed = Number(fields.get('max_window_layers') ?? 28);
  const isListed = Array.isArray(layerTypes);
  if (!isNull && !isListed && !(firstWindowed >= fields.count('num_hidden_layers', LARGEST.numLayers)))
    fields.fail('use_sliding_window', advice);
}

/**
 * Content of the `config.json` that `transformers` (4 and 5) loads as this model, in the published spelling.
 * `parseHuggingFaceConfig` gives the same description back.
 * @throws ConfigError where the family cannot express the description (a qwen2 with query norms, say)
 */
export function toHuggingFaceConfig(config: TransformerConfig): Record<string, unknown> {
  const family = familyOf(config.family, 'configuration');
  requireSame(config, 'qkNorm', family.qkNorm);
  const attentionBias = config.qkvBias;
  requireSame(config, 'qkvBias', typeof family.qkvBias === 'string' ? attentionBias : family.qkvBias);
  requireSame(config, 'outputBias', typeof family.outputBias === 'string' ? attentionBias : family.outputBias);
  requireSame(config, 'mlpBias', typeof family.mlpBias === 'string' ? config.mlpBias : family.mlpBias);
  return {
    architectures: [family.architecture],
    ...(typeof family.qkvBias === 'string' && { attention_bias: attentionBias }),
    attention_dropout: 0,
    bos_token_id: config.bosTokenId ?? null,
    eos_token_id: config.eosTokenIds.length > 1 ? [...config.eosTokenIds] : (config.eosTokenIds[0] ?? null),
    head_dim: config.headSize,
    hidden_act: 'silu',
    hidden_size: config.hiddenSize,
    initializer_range: config.initializerRange,
    intermediate_size: config.intermediateSize,
    max_position_embeddings: config.maxPositions,
    ...(typeof family.mlpBias === 'string' && { mlp_bias: config.mlpBias }),
    model_type: family.modelType,
    num_attention_heads: config.numHeads,
    num_hidden_layers: config.numLayers,
    num_key_value_heads: config.numKvHeads,
    pad_token_id: config.padTokenId ?? null,
    rms_norm_eps: config.rmsNormEps,
    rope_scaling: ropeScalingJson(config.ropeScaling),
    rope_theta: config.ropeTheta,
    ...(family.slidingWindow !== 'never' && { sliding_window: null }),
    tie_word_embeddings: config.tiedHead,
    torch_dtype: 'float32',
    use_cache: true,
    ...(family.slidingWindow === 'switched' && { use_sliding_window: false }),
    vocab_size: config.vocabSize,
  };
}

function requireSame(
  config: TransformerConfig,
  key: 'qkNorm' | 'qkvBias' | 'outputBias' | 'mlpBias',
  must: boolean,
): void {
  if (config[key] !== must)
    throw new ConfigError(
      `A ${config.family} configuration cannot say ${key} = ${config[key]}: it is always ${must} there.`,
    );
}

function ropeScalingJson(scaling: RopeScaling): Record<string, unknown> | null {
  switch (scaling.kind) {
    case 'none':
      return null;
    case 'linear':
      return { rope_type: 'linear', factor: scaling.factor };
    case 'llama3':
      return {
        rope_type: 'llama3',
        factor: scaling.factor,
        low_freq_factor: scaling.lowFrequencyFactor,
        high_freq_factor: scaling.highFrequencyFactor,
        original_max_position_embeddings: scaling.originalMaxPositions,
      };
    default:
      invariant(false, `rope scaling ${JSON.stringify(scaling)}`);
  }
}
