import { z } from 'zod';
import { makeProxy } from '../jobs/make-proxy.js';
import { trainingSchema } from '../training/config.js';
import { commandOptions, defineCommand } from './command.js';
import { chatDateOption, chatOption, modelOption, openModelOption } from './model-option.js';

export const proxy = defineCommand({
  description:
    "Makes the proxy of antidistillation sampling: the gradient of a small model's loss on holdout traces of the teacher, averaged " +
    'over all response tokens, and the step of finite differences with the smallest error.',
  options: commandOptions({
    model: modelOption,
    holdout: z
      .string()
      .meta({ description: 'Traces of the teacher that no student sees (.jsonl)', placeholder: 'file' }),
    output: z.string().meta({ description: 'Folder of the proxy', placeholder: 'folder' }),
    precision: z.enum(['float32', 'bfloat16']).default('float32').meta({
      description: 'What the gradient is computed in; the study of finite differences is float32 in any case',
    }),
    microBatchTokens: trainingSchema.shape.microBatchTokens,
    chat: chatOption,
    chatDate: chatDateOption,
  }),
  examples: ['azeotrope proxy --model P --holdout traces.jsonl --output proxy'],
  howToContinue: ({ output }) => `Nothing was written to ${output}; run the command again.`,
  run: async (context, config) => {
    const { holdout, output, microBatchTokens, precision, chat, chatDate } = config;
    const opened = await openModelOption(context, config);
    try {
      let progress: ReturnType<typeof context.createProgress> | undefined;
      let numDone = 0;
      const result = await makeProxy(opened, {
        ...{ holdout, output, microBatchTokens, precision, chat, chatDate },
        signal: context.signal,
        log: context.log,
        onProgress: (doneTokens, total) => {
          progress ??= context.createProgress({ label: 'gradient', total, unit: 'tokens' });
          progress.advance(doneTokens - numDone);
          numDone = doneTokens;
          if (doneTokens === total) progress.stop();
        },
      });
      const { lossNats, responseTokens, gradientNorm, epsilon, epsilonError } = result;
      context.log(
        `Loss ${lossNats.toFixed(4)} nats over ${responseTokens} response tokens, gradient of norm ${gradientNorm.toPrecision(4)} in ${result.precision}, ` +
          `ε ${epsilon} (error ${epsilonError.toExponential(1)}); written to ${output}.`,
      );
      return result;
    } finally {
      opened.dispose();
    }
  },
});
