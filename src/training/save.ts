/** Trained weights as files that other programs load. */

import { writeCheckpoint } from '../model/checkpoint-write.js';
import { writeAdapter } from '../model/files/adapter.js';
import type { FloatDtype } from '../model/files/safetensors-write.js';
import type { LanguageModel } from '../model/language-model.js';
import { parameterSpecs } from '../model/parameters.js';

/**
 * Writes what was trained: a model with adapters as a PEFT folder (the adapters alone), any other as a Hugging Face folder.
 * `files` go beside the weights (tokenizer.json, …); `baseModel` is the name an adapter remembers.
 * Errors: ConfigError where a Hugging Face folder exists and `overwrite` is not set; DataError where the disk is full.
 */
export async function saveTrainedModel(
  folder: string,
  model: LanguageModel,
  options: {
    baseModel?: string | undefined;
    files?: Readonly<Record<string, string | Uint8Array>>;
    overwrite?: boolean;
    /** Storage type of a model's weights, default F32; adapters are always F32. */
    dtype?: FloatDtype;
  } = {},
): Promise<void> {
  const { config, lora, parameters } = model;
  if (lora !== undefined) {
    const values = new Map([...parameters].map(([name, { data }]) => [name, data]));
    await writeAdapter(folder, config, { lora, baseModel: options.baseModel, values });
    return;
  }
  const tensors = parameterSpecs(config).map(({ name, shape }) => ({
    name,
    shape,
    values: parameters.get(name)!.data,
  }));
  const { files = {}, overwrite = false, dtype = 'F32' } = options;
  await writeCheckpoint(folder, { config, tensors, dtype, files }, { overwrite });
}
