/** Options that several commands share. */
import { z } from 'zod';
import type { Precision } from '../engine/onnx/emitter.js';
import { samplerSchema } from '../inference/samplers/settings.js';
import type { OpenModelOptions } from '../jobs/open-model.js';
import type { CommandContext } from './command.js';
import { formatBytes } from './format.js';

export const modelOption = z.string().meta({
  description: 'Model: a Hugging Face folder, a .gguf file, or org/name[@revision] on the hub',
  placeholder: 'model',
});

/**
 * What models compute in. The default is what most of the work of a command is best done in on this machine; what needs more
 * (the gradient of a proxy) says so itself.
 */
export const precisionOption = z.enum(['float32', 'bfloat16']).default('float32').meta({
  description: 'What matrix products compute in; bfloat16 takes effect where this machine has matrix units for it',
});

export const adapterOption = z.string().optional().meta({
  description: 'LoRA adapter (a PEFT folder) to run the model with',
  placeholder: 'folder',
  whenAbsent: 'none',
});

export const chatOption = z.enum(['auto', 'never']).default('auto').meta({
  description: 'auto: a prompt is a chat message where the model has a chat template; never: it is plain text',
});

export const chatDateOption = z.string().optional().meta({
  description: 'Date that the chat template writes where it asks for one, such as 2024-07-26',
  placeholder: 'date',
  whenAbsent: 'today',
});

export const samplerOptions = samplerSchema.shape;

/** Options of `openModel` that come from the command line, with a note for each file being downloaded. */
export function openOptions(
  context: CommandContext,
  config: { threads?: number | undefined; adapter?: string | undefined; precision?: Precision | undefined },
) {
  const options: OpenModelOptions = {
    threads: config.threads,
    precision: config.precision,
    adapter: config.adapter,
    signal: context.signal,
    onProgress: downloadProgress(context),
  };
  return options;
}

const TENTH = 0.1;

/** Tells of a download at its start and at every tenth. */
export function downloadProgress(context: CommandContext): NonNullable<OpenModelOptions['onProgress']> {
  const told = new Map<string, number>();
  return ({ file, doneBytes, totalBytes }) => {
    const share = totalBytes > 0 ? doneBytes / totalBytes : 1;
    if (share < (told.get(file) ?? 0)) return;
    told.set(file, (Math.floor(share / TENTH) + 1) * TENTH);
    context.log(`${file}: ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`);
  };
}
