import { z } from 'zod';
import { API_KEY_VARIABLE, createEndpointResponder, createLocalResponder } from '../inference/endpoint/responders.js';
import { judgeRows } from '../jobs/judge-rows.js';
import { ConfigError } from '../support/errors.js';
import { commandOptions, defineCommand } from './command.js';
import { openModelOption, precisionOption } from './model-option.js';

export const judge = defineCommand({
  description:
    'Scores responses with a judge: it answers each question itself, then rates both answers from 1 to 10, in both orders. The score ' +
    'of a response is 100·response/(response + reference), 50 being as good as the judge. Answers of the judge are kept: the same ' +
    'command asks only what is missing, and nothing is paid for twice.',
  options: commandOptions({
    input: z.string().meta({ description: 'Rows with id, prompt and response (.jsonl)', placeholder: 'file' }),
    output: z.string().meta({ description: 'Folder of judge.json and of what the judge said', placeholder: 'folder' }),
    model: z.string().meta({
      description:
        'The judge: the exact name of a model at the endpoint, or without one a model as other commands take it',
      placeholder: 'model',
    }),
    precision: precisionOption,
    url: z
      .string()
      .optional()
      .meta({
        description: `OpenAI-compatible endpoint, such as https://host/v1; its key is read from ${API_KEY_VARIABLE}`,
        placeholder: 'url',
      }),
    temperature: z.number().min(0).default(0).meta({ description: 'Temperature of the judge' }),
    maxTokens: z.int().min(1).default(1024).meta({ description: 'Longest answer of the judge', unit: 'tokens' }),
    requestsPerMinute: z
      .int()
      .min(1)
      .optional()
      .meta({ description: 'Most requests a minute', whenAbsent: 'no limit' }),
    concurrency: z.int().min(1).max(256).default(8).meta({ description: 'Requests at a time' }),
  }),
  examples: [
    'azeotrope judge --input responses.jsonl --output judged --url https://host/v1 --model judge-2024-08-06',
    'azeotrope judge --input responses.jsonl --output judged --model HuggingFaceTB/SmolLM2-135M-Instruct',
  ],
  howToContinue: ({ output }) => `${output} keeps what the judge said; the same command asks the rest.`,
  run: async (context, config) => {
    const { input, output, url, model, temperature, maxTokens, seed } = config;
    const opened = url === undefined ? await openModelOption(context, { ...config, model }) : undefined;
    try {
      const responder =
        url === undefined
          ? createLocalResponder({ ...opened!, name: model }, { temperature, maxTokens, seed })
          : createEndpointResponder({ ...config, url, apiKey: process.env[API_KEY_VARIABLE], log: context.log });
      let progress: ReturnType<typeof context.createProgress> | undefined;
      const result = await judgeRows({
        input,
        output,
        judge: responder,
        signal: context.signal,
        onStart: (total) => {
          progress = context.createProgress({ label: 'judging', total, unit: 'answers' });
        },
        onAnswer: () => progress?.advance(1),
      });
      progress?.stop();
      context.signal.throwIfAborted();
      const { score, interval, lengthControlledScore, numJudged, numUnparsable, failures, spent, models } = result;
      const number = (value: number | null | undefined) => (value ?? Number.NaN).toFixed(1);
      context.log(
        score === null
          ? `No response has a score: ${numUnparsable} could not be read.`
          : `Score ${number(score)} (95 % interval ${number(interval?.lower)} to ${number(interval?.upper)}), at equal length ` +
              `${number(lengthControlledScore)}; ${numJudged} judged, ${numUnparsable} without a readable judgement.`,
      );
      if (url !== undefined && models.some((served) => served !== model))
        context.log(
          `The endpoint answered as ${models.join(', ')}, not as ${model}: name a model exactly (--model), so that scores of another day come from the same judge.`,
        );
      context.log(`Asked now: ${spent.requests} requests, ${spent.promptTokens} + ${spent.completionTokens} tokens.`);
      if (failures.length > 0)
        throw new ConfigError(
          `${failures.length} requests were not answered; the first: ${failures[0].message} ${output} keeps the others: run the same command again.`,
        );
      const { responses: _responses, ...summary } = result;
      return { output, ...summary };
    } finally {
      opened?.dispose();
    }
  },
});
