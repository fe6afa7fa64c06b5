/** Options that several commands share. */
import { z } from 'zod';
import type { PrecisionChoice } from '../engine/compiler.js';
import type { Precision } from '../engine/onnx/emitter.js';
import { samplerSchema } from '../inference/samplers/settings.js';
import { type OpenedModel, type OpenModelOptions, openModel } from '../jobs/open-model.js';
import type { CommandContext } from './command.js';
import { formatBytes } from './format.js';

export const modelOption = z.string().meta({
  description: 'Model: a Hugging Face folder, a .gguf file, or org/name[@revision] on the hub',
  placeholder: 'model',
});

/** The same of a run, whose configuration may name one as well. */
export const runPrecisionOption = z.enum(['auto', 'float32', 'bfloat16']).optional().meta({
  description: 'What all that samples, scores and trains computes in, as `precision` of the configuration',
  whenAbsent: 'what the configuration says, or bfloat16 where this machine has matrix units or AVX-512 for it',
});

/** As `--set`: precision of the whole run, its training included. */
export const precisionSettings = (precision: PrecisionChoice | undefined): string[] =>
  precision === undefined ? [] : [`precision=${precision}`, 'training.precision=auto'];

/** What models compute in. What needs more than bfloat16 (the gradient of a proxy, differences) says so itself. */
export const precisionOption = z.enum(['auto', 'float32', 'bfloat16']).default('auto').meta({
  description:
    'What matrix products compute in; auto: bfloat16 where this machine has matrix units or AVX-512 for it, else float32',
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
  config: { threads?: number | undefined; adapter?: string | undefined; precision?: PrecisionChoice | undefined },
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

/** Opens the model of a command, and says where it cannot compute in the precision that was asked for. */
export async function openModelOption(
  context: CommandContext,
  config: Parameters<typeof openOptions>[1] & { model: string },
): Promise<OpenedModel> {
  const opened = await openModel(config.model, openOptions(context, config));
  tellPrecision(context, config.precision, opened.model.compiler.precision);
  return opened;
}

/** Says that bfloat16 was asked for and cannot be had. */
export function tellPrecision(
  { log }: Pick<CommandContext, 'log'>,
  asked: PrecisionChoice | undefined,
  effective: Precision,
): void {
  if (asked !== 'bfloat16' || effective === asked) return;
  log('bfloat16 needs kernels that are not to be had here (azeotrope doctor): computes in float32.');
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
