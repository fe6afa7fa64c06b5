import { z } from 'zod';
import { openModel } from '../jobs/open-model.js';
import { scoreRows } from '../jobs/score-rows.js';
import { commandOptions, defineCommand } from './command.js';
import { adapterOption, chatDateOption, chatOption, modelOption, openOptions } from './model-option.js';

export const score = defineCommand({
  description:
    'Gives the log-probability of every token of a file of rows, in nats. The same command continues a stopped run.',
  options: commandOptions({
    model: modelOption,
    adapter: adapterOption,
    input: z.string().meta({ description: 'Rows or traces to score (.jsonl)', placeholder: 'file' }),
    output: z.string().meta({ description: 'Scores (.jsonl)', placeholder: 'file' }),
    topK: z.int().min(0).default(0).meta({ description: 'Likeliest tokens reported at each position' }),
    chat: chatOption,
    chatDate: chatDateOption,
  }),
  examples: ['azeotrope score --model M --input rows.jsonl --output scores.jsonl --top-k 5'],
  howToContinue: ({ output }) => `${output} keeps the rows that are scored; the same command does the rest.`,
  run: async (context, config) => {
    const opened = await openModel(config.model, openOptions(context, config));
    try {
      let progress: ReturnType<typeof context.createProgress> | undefined;
      const summary = await scoreRows(opened, {
        input: config.input,
        output: config.output,
        topK: config.topK,
        chat: config.chat,
        chatDate: config.chatDate,
        signal: context.signal,
        log: context.log,
        onStart: ({ numRows, numDone }) => {
          progress = context.createProgress({ label: 'scoring', total: numRows, unit: 'rows', initial: numDone });
        },
        onRows: (count) => progress?.advance(count),
      });
      progress?.stop();
      if (summary.lossNats !== null) {
        const { numResponseTokens, lossNats } = summary;
        context.log(
          `${numResponseTokens} response tokens, ${lossNats.toFixed(4)} nats each, written to ${config.output}.`,
        );
      }
      return summary;
    } finally {
      opened.dispose();
    }
  },
});
