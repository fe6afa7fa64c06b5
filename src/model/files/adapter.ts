/** LoRA adapters as folders that PEFT reads and writes: adapter_config.json and adapter_model.safetensors. */
import { join } from 'node:path';
import { ConfigError, invariant, ModelLoadError } from '../../support/errors.js';
import { writeFileAtomic } from '../../support/files.js';
import { writeFolderAtomic } from '../../support/folders.js';
import type { TransformerConfig } from '../config.js';
import { LORA_MODULES, type LoraConfig, loraNames, loraTargets } from '../lora.js';
import { readModelJson } from './json-file.js';
import { openSafetensors } from './safetensors.js';
import { type TensorToWrite, writeSafetensors } from './safetensors-write.js';

const CONFIG_FILE = 'adapter_config.json';
const WEIGHTS_FILE = 'adapter_model.safetensors';
/** PEFT wraps the model twice: PeftModel holds LoraModel, which holds the causal language model. */
const PREFIX = 'base_model.model.';

export interface Adapter {
  readonly lora: LoraConfig;
  /** What the adapter was trained on, as its maker named it. */
  readonly baseModel: string | undefined;
  /** By the names of the model's parameters: `<module>.lora_A.weight`, `<module>.lora_B.weight`. */
  readonly values: ReadonlyMap<string, Float32Array>;
}

/** Features of PEFT that change the arithmetic; an adapter that uses one is refused, never read wrongly. */
const UNSUPPORTED: Readonly<Record<string, (value: unknown) => boolean>> = {
  use_dora: Boolean,
  use_qalora: Boolean,
  use_bdlora: Boolean,
  fan_in_fan_out: Boolean,
  lora_bias: Boolean,
  bias: (value) => value !== 'none',
  rank_pattern: isFilled,
  alpha_pattern: isFilled,
  modules_to_save: isFilled,
  layers_to_transform: (value) => value !== null,
  layer_replication: isFilled,
  exclude_modules: isFilled,
  target_parameters: isFilled,
  trainable_token_indices: isFilled,
  alora_invocation_tokens: isFilled,
};

/**
 * Reads an adapter for a model.
 * @throws ModelLoadError where a file is missing or broken, a matrix is missing, misshapen or unknown, or the adapter uses a
 *   feature beyond rank, alpha and target modules
 */
export function readAdapter(folder: string, config: TransformerConfig): Adapter {
  const path = join(folder, CONFIG_FILE);
  const { lora, baseModel } = parseConfig(readModelJson(path), path);
  const specs = targetSpecs(config, lora, path);
  const file = openSafetensors(join(folder, WEIGHTS_FILE));
  try {
    const known = new Set(specs.map(({ name }) => `${PREFIX}${name}`));
    const unknown = [...file.tensors.keys()].find((name) => !known.has(name));
    if (unknown !== undefined)
      throw new ModelLoadError(
        `${file.path}: tensor ${unknown} belongs to no module that ${CONFIG_FILE} names on this model. Was the adapter made for another one?`,
      );
    const values = specs.map(({ name, shape }) => {
      const got = file.tensors.get(`${PREFIX}${name}`)?.shape;
      if (got !== undefined && (got.length !== 2 || got.some((extent, axis) => extent !== shape[axis])))
        throw new ModelLoadError(
          `${file.path}: tensor ${PREFIX}${name} has shape [${got.join(', ')}]; this model and rank ${lora.rank} need [${shape.join(', ')}].`,
        );
      return [name, file.read(`${PREFIX}${name}`)] as const;
    });
    return { lora, baseModel, values: new Map(values) };
  } finally {
    file.dispose();
  }
}

function targetSpecs(config: TransformerConfig, lora: LoraConfig, path: string) {
  try {
    return loraTargets(config, lora).flatMap(loraNames);
  } catch (error) {
    if (error instanceof ConfigError) throw new ModelLoadError(`${path}: ${error.message}`);
    throw error;
  }
}

function parseConfig(json: unknown, path: string): { lora: LoraConfig; baseModel: string | undefined } {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new ModelLoadError(`${path}: expected an object. The file is damaged or no adapter's.`);
  const fields = json as Record<string, unknown>;
  if (fields.peft_type !== 'LORA')
    throw new ModelLoadError(`${path}: peft_type is ${JSON.stringify(fields.peft_type)}; only "LORA" is supported.`);
  for (const [key, isUsed] of Object.entries(UNSUPPORTED)) {
    if (fields[key] !== undefined && fields[key] !== false && isUsed(fields[key]))
      throw new ModelLoadError(
        `${path}: ${key} is ${JSON.stringify(fields[key])}, which is not supported. Merge the adapter with PEFT (merge_and_unload) and load the merged model.`,
      );
  }
  const { r: rank, lora_alpha: alpha, target_modules: targets } = fields;
  if (typeof rank !== 'number' || !Number.isInteger(rank) || rank < 1 || rank > 65536)
    throw new ModelLoadError(`${path}: r is ${JSON.stringify(rank)}; expected a whole number of at least 1.`);
  if (typeof alpha !== 'number' || !Number.isFinite(alpha))
    throw new ModelLoadError(`${path}: lora_alpha is ${JSON.stringify(alpha)}; expected a number.`);
  const targetModules = targets === 'all-linear' ? [...LORA_MODULES] : targets;
  if (!Array.isArray(targetModules) || !targetModules.every((target) => typeof target === 'string'))
    throw new ModelLoadError(
      `${path}: target_modules is ${JSON.stringify(targets)}; expected a list of module names (a pattern is not supported).`,
    );
  // Rank-stabilised LoRA scales by alpha / √r.
  const effective = fields.use_rslora === true ? alpha * Math.sqrt(rank) : alpha;
  const base = fields.base_model_name_or_path;
  return { lora: { rank, alpha: effective, targetModules }, baseModel: typeof base === 'string' ? base : undefined };
}

function isFilled(value: unknown): boolean {
  return typeof value === 'object' ? value !== null && Object.keys(value).length > 0 : true;
}

/**
 * Writes an adapter folder that PEFT loads, all or nothing, replacing one that is there. `values` by the names of the model's
 * parameters; those of other tensors are ignored.
 * @throws DataError where the disk is full or not writable
 */
export async function writeAdapter(
  folder: string,
  config: TransformerConfig,
  adapter: { lora: LoraConfig; baseModel: string | undefined; values: ReadonlyMap<string, Float32Array> },
): Promise<void> {
  const { lora, baseModel, values } = adapter;
  const tensors = loraTargets(config, lora)
    .flatMap(loraNames)
    .map(({ name, shape }): TensorToWrite => {
      const data = values.get(name);
      invariant(data !== undefined, `writeAdapter: no values for ${name}`);
      return { name: `${PREFIX}${name}`, shape, values: data };
    });
  const json = {
    base_model_name_or_path: baseModel ?? null,
    bias: 'none',
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: lora.alpha,
    lora_dropout: 0,
    peft_type: 'LORA',
    r: lora.rank,
    target_modules: [...lora.targetModules].sort(),
    task_type: 'CAUSAL_LM',
    use_dora: false,
    use_rslora: false,
  };
  await writeFolderAtomic(folder, async (temporary) => {
    await writeSafetensors(join(temporary, WEIGHTS_FILE), tensors);
    await writeFileAtomic(join(temporary, CONFIG_FILE), `${JSON.stringify(json, null, 2)}\n`);
  });
}
