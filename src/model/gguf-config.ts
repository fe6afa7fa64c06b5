import type { RopeScaling, TransformerConfig } from './config.js';
import { checkConfig, type Fields, fieldsOf, LARGEST, tokenIds } from './config-fields.js';
import { familyOfGguf, shorten } from './families.js';
import type { TensorFile } from './files/tensor-file.js';

/** Values of the only `llama3` scaling in published models (3.1, 3.2, 3.3); the factor differs. */
const LLAMA3 = { lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8192 } as const;

/**
 * The description of a model from a GGUF file: its metadata, and where that is silent (tied head, biases, scaled rotary
 * frequencies) the tensors it holds.
 * @throws ModelLoadError for an unknown architecture, a missing or absurd size, or a feature that would change the result
 */
export function ggufToConfig(
  metadata: Readonly<Record<string, unknown>>,
  file: Pick<TensorFile, 'path' | 'tensors' | 'read'>,
): TransformerConfig {
  const where = file.path;
  const family = familyOfGguf(metadata['general.architecture'], where);
  const prefix = family.ggufArchitecture;
  const fields = fieldsOf(metadata, where);
  refuseUnsupported(fields, prefix);
  const hiddenSize = fields.count(`${prefix}.embedding_length`, LARGEST.width);
  const numHeads = fields.count(`${prefix}.attention.head_count`, LARGEST.numHeads);
  const vocabSize =
    file.tensors.get('token_embd.weight')?.shape[0] ?? fields.count(`${prefix}.vocab_size`, LARGEST.vocabSize);
  const headSize = headSizeOf(fields, prefix, hiddenSize, numHeads);
  const endKeys = ['eos', 'eot', 'eom'].map((kind) => `tokenizer.ggml.${kind}_token_id`);
  return checkConfig(
    {
      family: family.modelType,
      vocabSize,
      hiddenSize,
      intermediateSize: fields.count(`${prefix}.feed_forward_length`, LARGEST.width * 4),
      numLayers: fields.count(`${prefix}.block_count`, LARGEST.numLayers),
      numHeads,
      numKvHeads: fields.count(`${prefix}.attention.head_count_kv`, LARGEST.numHeads, numHeads),
      headSize,
      rmsNormEps: shortestDecimal(fields.positive(`${prefix}.attention.layer_norm_rms_epsilon`)),
      ropeTheta: shortestDecimal(fields.positive(`${prefix}.rope.freq_base`, 10_000)),
      ropeScaling: ropeScalingOf(fields, prefix, file),
      maxPositions: fields.count(`${prefix}.context_length`, LARGEST.maxPositions),
      qkvBias: family.qkvBias === true || file.tensors.has('blk.0.attn_q.bias'),
      outputBias: file.tensors.has('blk.0.attn_output.bias'),
      mlpBias: file.tensors.has('blk.0.ffn_gate.bias'),
      qkNorm: family.qkNorm,
      tiedHead: !file.tensors.has('output.weight'),
      bosTokenId: tokenIds(fields, 'tokenizer.ggml.bos_token_id', vocabSize)[0],
      eosTokenIds: [...new Set(endKeys.flatMap((key) => tokenIds(fields, key, vocabSize)))],
      padTokenId: tokenIds(fields, 'tokenizer.ggml.padding_token_id', vocabSize)[0],
      initializerRange: 0.02,
    },
    where,
  );
}

function headSizeOf(fields: Fields, prefix: string, hiddenSize: number, numHeads: number): number {
  const key = `${prefix}.attention.key_length`;
  if (fields.get(key) === undefined && hiddenSize % numHeads !== 0)
    fields.fail(key, `is missing, and width ${hiddenSize} is not a multiple of ${numHeads} heads.`);
  const headSize = fields.count(key, LARGEST.headSize, hiddenSize / numHeads);
  for (const other of ['attention.value_length', 'rope.dimension_count']) {
    const size = fields.count(`${prefix}.${other}`, LARGEST.headSize, headSize);
    if (size !== headSize)
      fields.fail(`${prefix}.${other}`, `${size} differs from the head size ${headSize}, which is not supported.`);
  }
  return headSize;
}

function refuseUnsupported(fields: Fields, prefix: string): void {
  for (const [key, feature] of [
    ['expert_count', 'Mixtures of experts are'],
    ['attention.sliding_window', 'A sliding attention window is'],
    ['rope.scaling.attn_factor', 'A scaled rotary attention factor is'],
  ])
    if (Number(fields.get(`${prefix}.${key}`) ?? 0) > 0)
      fields.fail(`${prefix}.${key}`, `is ${shorten(fields.get(`${prefix}.${key}`))}. ${feature} not supported.`);
}

function ropeScalingOf(fields: Fields, prefix: string, file: Pick<TensorFile, 'tensors' | 'read'>): RopeScaling {
  const kind = fields.get(`${prefix}.rope.scaling.type`) ?? 'none';
  const factor = fields.positive(`${prefix}.rope.scaling.factor`, fields.positive(`${prefix}.rope.scale_linear`, 1));
  if (kind !== 'none' && kind !== 'linear')
    fields.fail(`${prefix}.rope.scaling.type`, `${shorten(kind)} is not supported. Supported: none, linear.`);
  if (file.tensors.has('rope_freqs.weight')) return llama3Scaling(fields, prefix, file);
  return factor === 1 ? { kind: 'none' } : { kind: 'linear', factor };
}

/**
 * llama.cpp stores Llama 3.1's scaling as the divisor of each frequency. The rule that made them is looked for among the
 * published ones, so that the result can be written as a `config.json` again.
 */
function llama3Scaling(fields: Fields, prefix: string, file: Pick<TensorFile, 'tensors' | 'read'>): RopeScaling {
  const numFrequencies = file.tensors.get('rope_freqs.weight')!.shape[0];
  if (numFrequencies > LARGEST.headSize) fields.fail('rope_freqs.weight', `has ${numFrequencies} values.`);
  const divisors = file.read('rope_freqs.weight');
  const base = fields.positive(`${prefix}.rope.freq_base`, 10_000);
  const factor = shortestDecimal(divisors[divisors.length - 1]);
  if (divisors.every((divisor) => divisor === 1)) return { kind: 'none' };
  const scaling = { kind: 'llama3', factor, ...LLAMA3 } as const;
  const isKnown = divisors.every((divisor, index) => {
    const expected = llama3Divisor(base ** (-index / divisors.length), scaling);
    return Math.abs(divisor - expected) <= 1e-4 * expected;
  });
  return isKnown
    ? scaling
    : fields.fail(
        'rope_freqs.weight',
        "scales the rotary embedding by another rule than Llama 3.1's, which is not supported.",
      );
}

/** By what `llama3` scaling divides one frequency. @see transformers modeling_rope_utils `_compute_llama3_parameters` */
function llama3Divisor(frequency: number, scaling: Extract<RopeScaling, { kind: 'llama3' }>): number {
  const { factor, lowFrequencyFactor, highFrequencyFactor, originalMaxPositions } = scaling;
  const turns = (originalMaxPositions * frequency) / (2 * Math.PI); // within the original context
  if (turns > highFrequencyFactor) return 1;
  if (turns < lowFrequencyFactor) return factor;
  const smooth = (turns - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor);
  return 1 / ((1 - smooth) / factor + smooth);
}

/** 9.999999747378752e-6, a float32 as stored, means 1e-5: the shortest decimal that is the same float32. */
function shortestDecimal(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === Math.fround(value)) return candidate;
  }
  return value;
}
