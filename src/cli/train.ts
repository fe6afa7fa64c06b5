import { z } from 'zod';
import { trainRows } from '../jobs/train-rows.js';
import { LORA_MODULES } from '../model/lora.js';
import { type TrainingConfig, trainingSchema } from '../training/config.js';
import { commandOptions, defineCommand } from './command.js';
import {
  chatDateOption,
  chatOption,
  modelOption,
  openOptions,
  precisionOption,
  tellPrecision,
} from './model-option.js';

const { lora: _lora, activationCheckpointing: _checkpointing, seed: _seed, ...trainingOptions } = trainingSchema.shape;

const CHECKPOINTING = { auto: 'auto', always: true, never: false } as const;

export const train = defineCommand({
  description:
    'Trains a model on the response tokens of rows or traces: all weights, LoRA adapters (--lora-rank), or a new model from a ' +
    'config.json (--init). The same command continues a stopped run.',
  options: commandOptions({
    model: modelOption.optional(),
    init: z.string().optional().meta({
      description: 'config.json of a model to train from scratch; --model then gives the tokenizer',
      placeholder: 'file',
    }),
    traces: z.string().meta({ description: 'Rows or traces to learn from (.jsonl)', placeholder: 'file' }),
    validation: z
      .string()
      .optional()
      .meta({ description: 'Rows whose loss is measured before and after (.jsonl)', placeholder: 'file' }),
    output: z.string().meta({ description: 'Folder of the trained model', placeholder: 'folder' }),
    loraRank: z.int().min(1).optional().meta({ description: 'Train adapters of this rank', whenAbsent: 'all weights' }),
    loraAlpha: z
      .number()
      .positive()
      .optional()
      .meta({ description: 'Adapters are scaled by alpha / rank', whenAbsent: '2 · rank' }),
    loraTargets: z
      .array(z.enum(LORA_MODULES))
      .default([...LORA_MODULES])
      .meta({ description: 'Modules that get an adapter', placeholder: 'module' }),
    merge: z.boolean().default(false).meta({ description: 'Write adapters added into the weights, a whole model' }),
    ...trainingOptions,
    precision: precisionOption,
    activationCheckpointing: z
      .enum(['auto', 'always', 'never'])
      .default('auto')
      .meta({ description: 'Compute activations twice instead of keeping them; auto: where memory would not suffice' }),
    chat: chatOption,
    chatDate: chatDateOption,
  }),
  examples: [
    'azeotrope train --model M --traces rows.jsonl --output trained --epochs 2 --learning-rate 1e-4',
    'azeotrope train --model M --traces rows.jsonl --output adapter --lora-rank 16 --validation held-out.jsonl',
    'azeotrope train --init config.json --traces rows.jsonl --output small',
  ],
  howToContinue: ({ output }) => `${output} keeps the last checkpoint; the same command continues from it.`,
  run: async (context, config) => {
    let progress: ReturnType<typeof context.createProgress> | undefined;
    let initial = 0;
    const result = await trainRows({
      ...openOptions(context, config),
      model: config.model,
      init: config.init,
      traces: config.traces,
      validation: config.validation,
      output: config.output,
      merge: config.merge,
      chat: config.chat,
      chatDate: config.chatDate,
      config: trainingConfigOf(config),
      log: context.log,
      onStep: ({ step, totalSteps, lossNats, numComputedTokens, durationMs }) => {
        if (progress === undefined) {
          initial = step - 1;
          progress = context.createProgress({ label: 'training', total: totalSteps, unit: 'steps', initial });
        }
        const rate = Math.round((numComputedTokens / durationMs) * 1000);
        progress.advance(1, `loss ${lossNats.toFixed(3)} nats, ${rate} tokens/s`);
      },
    });
    progress?.stop();
    if (!result.isComplete) context.signal.throwIfAborted();
    if (result.validation !== null) {
      const { lossNatsBefore, lossNatsAfter } = result.validation;
      context.log(`Held-out loss: ${lossNatsBefore.toFixed(4)} nats before, ${lossNatsAfter.toFixed(4)} after.`);
    }
    tellPrecision(context, config.precision, result.precision);
    context.log(
      `Trained on ${result.numRows} rows in ${result.numSteps} steps (${result.precision}); written to ${config.output}.`,
    );
    return result;
  },
});

type Options = Omit<TrainingConfig, 'lora' | 'activationCheckpointing'> & {
  readonly activationCheckpointing: keyof typeof CHECKPOINTING;
  readonly loraRank?: number | undefined;
  readonly loraAlpha?: number | undefined;
  readonly loraTargets: readonly (typeof LORA_MODULES)[number][];
};

function trainingConfigOf(options: Options): TrainingConfig {
  const { loraRank: rank, loraAlpha, loraTargets } = options;
  const known = Object.keys(trainingOptions) as (keyof typeof trainingOptions)[];
  const lora =
    rank === undefined ? {} : { lora: { rank, alpha: loraAlpha ?? 2 * rank, targetModules: [...loraTargets] } };
  return trainingSchema.parse({
    ...Object.fromEntries(known.map((key) => [key, options[key]])),
    seed: options.seed,
    activationCheckpointing: CHECKPOINTING[options.activationCheckpointing],
    ...lora,
  });
}
