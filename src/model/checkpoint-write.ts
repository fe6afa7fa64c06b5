import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ConfigError, invariant } from '../support/errors.js';
import { fileError, writeFileAtomic } from '../support/files.js';
import { writeFolderAtomic } from '../support/folders.js';
import type { TransformerConfig } from './config.js';
import { type FloatDtype, type TensorToWrite, writeSafetensors } from './files/safetensors-write.js';
import { toHuggingFaceConfig } from './hugging-face-config.js';
import { parameterSpecs } from './parameters.js';

export interface CheckpointContent {
  readonly config: TransformerConfig;
  /** One for every entry of `parameterSpecs(config)`. */
  readonly tensors: readonly TensorToWrite[];
  /** Storage type of the weights, default F32. */
  readonly dtype?: FloatDtype;
  /** Further files (tokenizer.json, tokenizer_config.json, …), name to content. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
}

const TORCH_DTYPES: Readonly<Record<FloatDtype, string>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' };

/**
 * Writes a folder that `transformers` loads as it is. All or nothing: it is made beside its place and renamed, with
 * config.json, which makes a folder a model, written last.
 * @param options.overwrite replace a folder that is already there, default false
 * @throws ConfigError where the folder exists and is not empty; DataError where the disk is full or not writable
 */
export async function writeCheckpoint(
  folder: string,
  content: CheckpointContent,
  options: { overwrite?: boolean } = {},
): Promise<void> {
  if (!options.overwrite && (await isFilled(folder)))
    throw new ConfigError(`${folder}: the folder is not empty. Name another one, or remove it first.`);
  checkTensors(content);
  await writeFolderAtomic(folder, (temporary) => writeFiles(temporary, content));
}

async function writeFiles(folder: string, content: CheckpointContent): Promise<void> {
  const dtype = content.dtype ?? 'F32';
  const config = { ...toHuggingFaceConfig(content.config), torch_dtype: TORCH_DTYPES[dtype] };
  const { bos_token_id, eos_token_id, pad_token_id } = config as Record<string, unknown>;
  const files: Record<string, string | Uint8Array> = {
    'generation_config.json': jsonText({ _from_model_config: true, bos_token_id, eos_token_id, pad_token_id }),
    ...content.files,
  };
  await writeSafetensors(join(folder, 'model.safetensors'), content.tensors, { dtype });
  for (const [name, data] of Object.entries(files)) {
    invariant(basename(name) === name && name !== 'config.json', `${name} is not a name for a file of a checkpoint`);
    await writeFileAtomic(join(folder, name), data);
  }
  await writeFileAtomic(join(folder, 'config.json'), jsonText(config));
}

function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function checkTensors({ config, tensors }: CheckpointContent): void {
  const shapes = new Map(tensors.map(({ name, shape }) => [name, shape.join(' × ')]));
  const specs = parameterSpecs(config);
  for (const { name, shape } of specs)
    invariant(
      shapes.get(name) === shape.join(' × '),
      `writeCheckpoint: ${name} must be ${shape.join(' × ')}, got ${shapes.get(name)}`,
    );
  invariant(
    tensors.length === specs.length,
    `writeCheckpoint: ${tensors.length} tensors for ${specs.length} parameters`,
  );
}

async function isFilled(folder: string): Promise<boolean> {
  try {
    return (await readdir(folder)).length > 0;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw fileError(error, 'write', folder);
  }
}
