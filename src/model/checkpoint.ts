import { existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ModelLoadError } from '../support/errors.js';
import type { TokenizerSource } from '../tokenizer/types.js';
import type { ParameterSpec, TransformerConfig } from './config.js';
import { fieldsOf, tokenIds } from './config-fields.js';
import { shorten } from './families.js';
import { openGgufCheckpoint } from './files/gguf-checkpoint.js';
import { fetchFromHub, type HubOptions, parseHubReference } from './files/hub.js';
import { readModelJson, readModelText } from './files/json-file.js';
import { openSafetensors } from './files/safetensors.js';
import { openShards } from './files/safetensors-shards.js';
import { isStoredAlike, type StoredMatrix, type TensorFile } from './files/tensor-file.js';
import { parseHuggingFaceConfig } from './hugging-face-config.js';
import { EMBEDDING, parameterSpecs, sizeOfShape } from './parameters.js';

/** A model ready to be read: every parameter is there with the right shape; no weights are in memory yet. */
export interface Checkpoint {
  readonly kind: 'safetensors' | 'gguf';
  /** As the user named it. */
  readonly location: string;
  /** Folder or file on this machine. */
  readonly path: string;
  readonly config: TransformerConfig;
  /** Undefined where the folder holds no tokenizer: rows of token ids need none. */
  readonly tokenizerSource: TokenizerSource | undefined;
  /** Tokenizer files of a folder, by name, to be copied beside weights trained from these. */
  readonly tokenizerFiles: ReadonlyMap<string, string>;
  /** Storage type that most weights have (BF16, Q4_1, …). */
  readonly dtype: string;
  /** Bytes of the weight files. */
  readonly fileBytes: number;
  /** Commit on the hub. */
  readonly revision: string | undefined;
  /** What was found odd but not wrong, one sentence each. */
  readonly warnings: readonly string[];
  /** In checkpoint order. */
  readonly parameters: readonly ParameterSpec[];
  /** Writes a parameter's values as float32 into memory of its size. */
  read(name: string, into: Float32Array): void;
  /** A matrix that is stored in blocks which can be computed on as they are; undefined for any other parameter. */
  blocks(name: string): StoredMatrix | undefined;
  dispose(): void;
}

export type OpenOptions = HubOptions;

const TOKENIZER_FILES = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'tokenizer.model',
  'chat_template.jinja',
  'chat_template.json',
  'generation_config.json',
]; // prettier-ignore

/**
 * Opens a model: a Hugging Face folder, a `.gguf` file, or `org/name[@revision]` (also `org/name/file.gguf`) from the hub.
 * @throws ModelLoadError that says what is missing or broken, where, and what to do
 */
export async function openCheckpoint(location: string, options: OpenOptions = {}): Promise<Checkpoint> {
  if (existsSync(location)) return openLocal(location, resolve(location), undefined);
  const reference = parseHubReference(location);
  if (!reference)
    throw new ModelLoadError(
      `${location}: there is no such file or folder, and it is not the name of a model on the hub (org/name or org/name@revision). Check the path.`,
    );
  const fetched = await fetchFromHub(reference, options);
  return openLocal(location, fetched.path, fetched.revision, fetched.warnings);
}

function openLocal(
  location: string,
  path: string,
  revision: string | undefined,
  warnings: readonly string[] = [],
): Checkpoint {
  const opened = statSync(path).isDirectory() ? openFolder(path) : openModelFile(path);
  try {
    const checked = checkTensors(opened);
    return {
      kind: opened.kind,
      location,
      path,
      config: checked.config,
      tokenizerSource: opened.tokenizerSource,
      tokenizerFiles: opened.tokenizerFiles,
      dtype: commonDtype(opened.weights),
      fileBytes: opened.weights.sizeBytes,
      revision,
      warnings: [...warnings, ...checked.warnings],
      parameters: parameterSpecs(checked.config),
      read: (name, into) => void opened.weights.read(name, into),
      blocks: (name) => opened.weights.blocks?.(name),
      dispose: opened.weights.dispose,
    };
  } catch (error) {
    opened.weights.dispose();
    throw error;
  }
}

interface Opened extends Pick<Checkpoint, 'kind' | 'config' | 'tokenizerSource' | 'tokenizerFiles'> {
  readonly weights: TensorFile;
}

function openModelFile(path: string): Opened {
  if (!path.endsWith('.gguf'))
    throw new ModelLoadError(
      `${path}: not a model. Name a folder that holds config.json and safetensors files, or a .gguf file.`,
    );
  const { file, config, weights } = openGgufCheckpoint(path, (described) =>
    parameterSpecs(described).map(({ name }) => name),
  );
  const entries = Object.entries(file.metadata).filter(([key]) => key.startsWith('tokenizer.'));
  const hasTokenizer = file.metadata['tokenizer.ggml.tokens'] !== undefined;
  const tokenizerSource: TokenizerSource | undefined = hasTokenizer
    ? { kind: 'gguf', metadata: Object.fromEntries(entries) }
    : undefined;
  return { kind: 'gguf', config, weights, tokenizerSource, tokenizerFiles: new Map() };
}

function openFolder(folder: string): Opened {
  const configPath = join(folder, 'config.json');
  if (!existsSync(configPath))
    throw new ModelLoadError(`${folder}: there is no config.json. Name a model folder, or a .gguf file in it.`);
  const fromConfig = readConfig(configPath);
  const generationPath = join(folder, 'generation_config.json');
  const config = existsSync(generationPath)
    ? withGeneration(fromConfig, readModelJson(generationPath), generationPath)
    : fromConfig;
  const present = TOKENIZER_FILES.filter((name) => existsSync(join(folder, name)));
  return {
    kind: 'safetensors',
    config,
    tokenizerSource: folderTokenizer(folder),
    tokenizerFiles: new Map(present.map((name) => [name, join(folder, name)])),
    weights: openWeights(folder),
  };
}

/**
 * The description in a `config.json`: to train from scratch.
 * @throws ModelLoadError
 */
export function readConfig(path: string): TransformerConfig {
  return parseHuggingFaceConfig(readModelJson(path), path);
}

/** `generation_config.json` has the last word on what ends a sequence, as in `transformers`. */
function withGeneration(config: TransformerConfig, json: unknown, where: string): TransformerConfig {
  const fields = fieldsOf(json, where);
  const eosTokenIds = tokenIds(fields, 'eos_token_id', config.vocabSize);
  return eosTokenIds.length > 0 ? { ...config, eosTokenIds } : config;
}

function openWeights(folder: string): TensorFile {
  const single = join(folder, 'model.safetensors');
  if (existsSync(single)) return openSafetensors(single);
  const index = join(folder, 'model.safetensors.index.json');
  if (existsSync(index)) return openShards(index);
  const hasPickle = ['pytorch_model.bin', 'pytorch_model.bin.index.json'].some((name) =>
    existsSync(join(folder, name)),
  );
  const advice = hasPickle
    ? 'Its weights are pickled (pytorch_model.bin), which is not read: convert them with transformers (save_pretrained).'
    : 'Was the download interrupted?';
  throw new ModelLoadError(`${folder}: there is no model.safetensors and no model.safetensors.index.json. ${advice}`);
}

function folderTokenizer(folder: string): TokenizerSource | undefined {
  const [tokenizer, tokenizerConfig, generationConfig, chatTemplate] = [
    'tokenizer.json',
    'tokenizer_config.json',
    'generation_config.json',
    'chat_template.jinja',
  ].map((name) => join(folder, name));
  if (!existsSync(tokenizer)) return undefined;
  return {
    kind: 'hugging-face',
    tokenizerJson: readModelJson(tokenizer),
    ...(existsSync(tokenizerConfig) && { tokenizerConfig: readModelJson(tokenizerConfig) }),
    ...(existsSync(generationConfig) && { generationConfig: readModelJson(generationConfig) }),
    ...(existsSync(chatTemplate) && { chatTemplate: readModelText(chatTemplate) }),
  };
}

/** Tables that are computed, not learnt; old checkpoints hold them. */
const HARMLESS =
  /(^|\.)(rotary_emb\.inv_freq|self_attn\.bias|self_attn\.masked_bias|rope_freqs\.weight)$|^rope_freqs\.weight$/;
const HEAD = 'lm_head.weight';

/** Compares the tensors with what the configuration needs: missing or misshapen ones are errors, unknown ones warnings. */
function checkTensors(opened: Opened): { config: TransformerConfig; warnings: string[] } {
  const { weights } = opened;
  const untied =
    opened.config.tiedHead &&
    weights.tensors.has(HEAD) &&
    weights.tensors.has(EMBEDDING) &&
    !isStoredAlike(weights, HEAD, EMBEDDING);
  const config = untied ? { ...opened.config, tiedHead: false } : opened.config;
  const warnings = untied
    ? [
        `${weights.path}: config.json ties the head to the embedding, but lm_head.weight differs from it. It is used as a head of its own, as transformers does.`,
      ]
    : [];
  const specs = parameterSpecs(config);
  const missing = specs.filter(({ name }) => !weights.tensors.has(name)).map(({ name }) => name);
  if (missing.length > 0)
    throw new ModelLoadError(
      `${weights.path}: ${missing.length} of the ${specs.length} tensors that a ${config.family} model with ${config.numLayers} layers needs are missing: ${listed(missing)}. The checkpoint is incomplete, or its configuration belongs to another model.`,
    );
  for (const { name, shape } of specs) {
    const got = weights.tensors.get(name)!.shape;
    if (got.length !== shape.length || got.some((extent, axis) => extent !== shape[axis]))
      throw new ModelLoadError(
        `${weights.path}: tensor ${name} has shape [${got.join(', ')}]; the configuration needs [${shape.join(', ')}]. They belong to different models.`,
      );
  }
  const known = new Set([...specs.map(({ name }) => name), HEAD]);
  const unknown = [...weights.tensors.keys()].filter((name) => !known.has(name) && !HARMLESS.test(name));
  if (unknown.length > 0)
    warnings.push(
      `${weights.path}: ${unknown.length} tensors are not part of a ${config.family} model and were ignored: ${listed(unknown)}.`,
    );
  return { config, warnings };
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, 4).map((name) => (name.length > 80 ? shorten(name) : name));
  return names.length > 4 ? `${shown.join(', ')} and ${names.length - 4} more` : shown.join(', ');
}

function commonDtype(weights: TensorFile): string {
  const sizes = new Map<string, number>();
  for (const { dtype, shape } of weights.tensors.values())
    sizes.set(dtype, (sizes.get(dtype) ?? 0) + sizeOfShape(shape));
  return [...sizes].reduce((best, entry) => (entry[1] > best[1] ? entry : best), ['', -1] as [string, number])[0];
}
