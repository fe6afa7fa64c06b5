import { z } from 'zod';
import { openModel } from '../jobs/open-model.js';
import { chatTime } from '../jobs/read-rows.js';
import { samplePrompt, sampleRows } from '../jobs/sample-rows.js';
import { ConfigError } from '../support/errors.js';
import { encodeRow } from '../tokenizer/rows.js';
import { commandOptions, defineCommand } from './command.js';
import { adapterOption, chatDateOption, chatOption, modelOption, openOptions, samplerOptions } from './model-option.js';

export const sample = defineCommand({
  description:
    'Samples responses. From a file, one trace is written for each prompt as it finishes, and the same command continues ' +
    'a stopped run; a single prompt is answered on the terminal as it is generated.',
  options: commandOptions({
    model: modelOption,
    adapter: adapterOption,
    input: z.string().optional().meta({ description: 'Prompts (.jsonl rows)', placeholder: 'file' }),
    output: z.string().optional().meta({ description: 'Traces (.jsonl)', placeholder: 'file' }),
    prompt: z.string().optional().meta({ description: 'One prompt, instead of input and output', placeholder: 'text' }),
    samples: z.int().min(1).default(1).meta({ description: 'Responses to each prompt' }),
    maxTokens: z
      .int()
      .min(1)
      .default(256)
      .meta({ description: 'Longest response; the context may leave less', unit: 'tokens' }),
    ...samplerOptions,
    stop: z.array(z.string()).default([]).meta({ description: 'Text that ends a response', placeholder: 'text' }),
    chat: chatOption,
    chatDate: chatDateOption,
    batch: z.int().min(1).max(1024).default(32).meta({ description: 'Most sequences computed at a time' }),
  }),
  examples: [
    'azeotrope sample --model M --input prompts.jsonl --output traces.jsonl --temperature 0.7 --max-tokens 256',
    'azeotrope sample --model M --prompt "Why is the sky blue?" --temperature 0',
  ],
  howToContinue: ({ output }) =>
    output === undefined ? 'Nothing was kept.' : `${output} keeps the finished traces; the same command does the rest.`,
  run: async (context, config) => {
    const { input, output, prompt, samples, seed, maxTokens, stop } = config;
    if (prompt === undefined ? input === undefined || output === undefined : (input ?? output) !== undefined) {
      throw new ConfigError('Give either --input and --output, or --prompt alone.');
    }
    const { temperature, topK, topP, minP, repetitionPenalty } = config;
    const sampler = { temperature, topK, topP, minP, repetitionPenalty };
    const opened = await openModel(config.model, openOptions(context, config));
    try {
      if (prompt !== undefined) {
        const { vocabSize } = opened.model.config;
        const row = { id: 'prompt', prompt };
        const { tokens } = encodeRow(row, {
          tokenizer: opened.tokenizer,
          vocabSize,
          chat: config.chat,
          where: '--prompt',
          now: chatTime(config.chatDate),
        });
        const settings = { sampler, seed, maxTokens, stop, signal: context.signal, onText: context.write };
        const trace = await samplePrompt(opened, tokens, settings);
        context.write('\n');
        context.signal.throwIfAborted();
        return trace;
      }
      let progress: ReturnType<typeof context.createProgress> | undefined;
      let numTokens = 0;
      let startMs = 0;
      const stats = await sampleRows(opened, {
        input: input!,
        output: output!,
        sampler,
        samples,
        seed,
        maxTokens,
        stop,
        chat: config.chat,
        chatDate: config.chatDate,
        maxBatch: config.batch,
        signal: context.signal,
        log: context.log,
        onStart: ({ numTraces, numDone }) => {
          startMs = performance.now();
          progress = context.createProgress({ label: 'sampling', total: numTraces, unit: 'traces', initial: numDone });
        },
        onToken: () => {
          numTokens += 1;
          progress?.advance(0, `${numTokens} tokens, ${perSecond(numTokens, startMs)}`);
        },
        onTrace: () => progress?.advance(1),
      });
      progress?.stop();
      context.signal.throwIfAborted();
      const seconds = stats.durationMs / 1000;
      context.log(
        `${stats.numTraces} traces, ${stats.numTokens} tokens in ${seconds.toFixed(1)} s ` +
          `(${Math.round(stats.numTokens / Math.max(seconds, 1e-9))} tokens/s), written to ${output}.`,
      );
      return { output, ...stats };
    } finally {
      opened.dispose();
    }
  },
});

const perSecond = (count: number, sinceMs: number): string =>
  `${Math.round((count / Math.max(performance.now() - sinceMs, 1)) * 1000)} tokens/s`;
