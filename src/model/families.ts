import { ModelLoadError } from '../support/errors.js';
import { didYouMean } from '../support/suggest.js';

/**
 * What `transformers` assumes of a model type where `config.json` is silent. Everything a family is lies in its row; the
 * layers themselves see only a `TransformerConfig`.
 */
export interface Family {
  /** `model_type` of config.json. */
  readonly modelType: string;
  /** Class that `transformers` loads, for the `architectures` key. */
  readonly architecture: string;
  /** `general.architecture` of llama.cpp's files. */
  readonly ggufArchitecture: string;
  /** llama.cpp stores rows of q and k for rotary pairs (2i, 2i + 1) instead of (i, i + D/2). */
  readonly ggufRotaryPairsAdjacent: boolean;
  /** Bias of q, k, v: fixed, or named by a key (absent key: false). */
  readonly qkvBias: boolean | 'attention_bias';
  /** Bias of the attention's output projection. */
  readonly outputBias: boolean | 'attention_bias';
  /** Bias of the three MLP projections. */
  readonly mlpBias: boolean | 'mlp_bias';
  readonly qkNorm: boolean;
  /** Head size where the key is absent. */
  readonly defaultHeadSize: number | 'hidden / heads';
  /** Key/value heads where the key is absent (null always means: as many as query heads). */
  readonly defaultKvHeads: number | 'heads';
  readonly defaultMaxPositions: number;
  readonly defaultBosTokenId: number | undefined;
  readonly defaultEosTokenIds: readonly number[];
  /** When a sliding window is in use: if the key `use_sliding_window` says so, wherever `sliding_window` is not null, never. */
  readonly slidingWindow: 'switched' | 'unless-null' | 'never';
}

const qwen = {
  ggufRotaryPairsAdjacent: false,
  mlpBias: false,
  defaultKvHeads: 32,
  defaultMaxPositions: 32_768,
  defaultBosTokenId: undefined,
  defaultEosTokenIds: [],
  slidingWindow: 'switched',
} as const;

/** @see transformers 5, `models/<model type>/configuration_<model type>.py` */
const FAMILIES: readonly Family[] = [
  {
    modelType: 'llama', // Llama 2, 3, 3.1, 3.2, SmolLM2
    architecture: 'LlamaForCausalLM',
    ggufArchitecture: 'llama',
    ggufRotaryPairsAdjacent: true,
    qkvBias: 'attention_bias',
    outputBias: 'attention_bias',
    mlpBias: 'mlp_bias',
    qkNorm: false,
    defaultHeadSize: 'hidden / heads',
    defaultKvHeads: 'heads',
    defaultMaxPositions: 2048,
    defaultBosTokenId: 1,
    defaultEosTokenIds: [2],
    slidingWindow: 'never',
  },
  {
    ...qwen, // Qwen2, Qwen2.5, DeepSeek-R1-Distill-Qwen
    modelType: 'qwen2',
    architecture: 'Qwen2ForCausalLM',
    ggufArchitecture: 'qwen2',
    qkvBias: true,
    outputBias: false,
    qkNorm: false,
    defaultHeadSize: 'hidden / heads',
  },
  {
    ...qwen,
    modelType: 'qwen3',
    architecture: 'Qwen3ForCausalLM',
    ggufArchitecture: 'qwen3',
    qkvBias: 'attention_bias',
    outputBias: 'attention_bias',
    qkNorm: true,
    defaultHeadSize: 128,
  },
  {
    modelType: 'mistral', // versions without a sliding window (0.2 and later)
    architecture: 'MistralForCausalLM',
    ggufArchitecture: 'llama',
    ggufRotaryPairsAdjacent: true,
    qkvBias: false,
    outputBias: false,
    mlpBias: false,
    qkNorm: false,
    defaultHeadSize: 'hidden / heads',
    defaultKvHeads: 8,
    defaultMaxPositions: 131_072,
    defaultBosTokenId: 1,
    defaultEosTokenIds: [2],
    slidingWindow: 'unless-null',
  },
];

/**
 * The row of a `model_type`.
 * @throws ModelLoadError naming the supported types
 */
export function familyOf(modelType: unknown, where: string): Family {
  const family = FAMILIES.find((row) => row.modelType === modelType);
  if (family) return family;
  throw unknownFamily(
    where,
    'model_type',
    modelType,
    FAMILIES.map((row) => row.modelType),
  );
}

/**
 * The row of a GGUF `general.architecture`.
 * @throws ModelLoadError naming the supported architectures
 */
export function familyOfGguf(architecture: unknown, where: string): Family {
  const family = FAMILIES.find((row) => row.ggufArchitecture === architecture);
  if (family) return family;
  const names = [...new Set(FAMILIES.map((row) => row.ggufArchitecture))];
  throw unknownFamily(where, 'general.architecture', architecture, names);
}

function unknownFamily(where: string, key: string, got: unknown, supported: readonly string[]): ModelLoadError {
  const shown = got === undefined ? 'is missing' : `${shorten(got)} is not a family this program runs`;
  const hint = typeof got === 'string' ? didYouMean(got, supported) : '';
  return new ModelLoadError(`${where}: ${key} ${shown}. Supported: ${supported.join(', ')}.${hint}`);
}

/** A value from a foreign file as it may stand in a message: at most 80 characters, whatever the value is. */
export function shorten(value: unknown): string {
  if (Array.isArray(value))
    return clip(
      `[${value.slice(0, 8).map((item) => (isFlat(item) ? flat(item) : '…'))}${value.length > 8 ? ',…' : ''}]`,
    );
  return isFlat(value) ? clip(flat(value)) : 'an object';
}

function isFlat(value: unknown): boolean {
  return typeof value !== 'object' || value === null;
}

function flat(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 80)) : String(value);
}

function clip(text: string): string {
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}
