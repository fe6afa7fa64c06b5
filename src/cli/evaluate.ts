import { z } from 'zod';
import type { Accuracy, SplitAccuracy } from '../evaluation/task-accuracy.js';
import { evaluateTask, type TaskEvaluation } from '../jobs/evaluate-task.js';
import { ConfigError } from '../support/errors.js';
import { loadDataset } from '../tasks/datasets/items.js';
import { PROMPT_TEMPLATES } from '../tasks/datasets/prompts.js';
import { commandOptions, defineCommand } from './command.js';
import { datasetOptions, fieldsOf, templateOption, timeLimitOption } from './dataset-option.js';
import {
  adapterOption,
  chatDateOption,
  chatOption,
  modelOption,
  openModelOption,
  precisionOption,
  samplerOptions,
} from './model-option.js';

export const evaluate = defineCommand({
  description:
    'Measures the accuracy of a model, or of stored traces, on questions with known answers, with 95 % intervals. The same command ' +
    'continues a stopped run.',
  options: commandOptions({
    data: z.string().meta({ description: 'Questions and answers (.jsonl, .parquet)', placeholder: 'file' }),
    ...datasetOptions,
    model: modelOption.optional(),
    precision: precisionOption,
    adapter: adapterOption,
    traces: z
      .string()
      .optional()
      .meta({ description: 'Stored traces, instead of asking the model', placeholder: 'file' }),
    output: z
      .string()
      .meta({ description: 'Folder of traces, graded responses and the result', placeholder: 'folder' }),
    limit: z.int().min(1).optional().meta({ description: 'Questions asked, from the first', whenAbsent: 'all' }),
    template: templateOption,
    shotsData: z
      .string()
      .optional()
      .meta({ description: 'Solved examples, in the format of data', placeholder: 'file' }),
    shots: z.int().min(0).default(0).meta({ description: 'Solved examples shown before each question' }),
    forceAnswers: z.boolean().default(false).meta({
      description: 'Let the model end each response that has no box with one, in a second pass',
    }),
    samples: z.int().min(1).default(1).meta({ description: 'Responses to each question' }),
    maxTokens: z.int().min(1).default(1024).meta({ description: 'Longest response', unit: 'tokens' }),
    ...samplerOptions,
    temperature: samplerOptions.temperature.default(0),
    chat: chatOption,
    chatDate: chatDateOption,
    batch: z.int().min(1).max(1024).default(32).meta({ description: 'Most sequences computed at a time' }),
    timeLimitMs: timeLimitOption,
  }),
  examples: [
    'azeotrope evaluate --task gsm8k --data test.jsonl --model M --output result --force-answers',
    'azeotrope evaluate --task gsm8k --data test.jsonl --traces traces.jsonl --output result',
  ],
  howToContinue: ({ output }) => `${output} keeps the finished traces; the same command does the rest.`,
  run: async (context, config) => {
    const { model, traces, shots, shotsData, limit, temperature, topK, topP, minP, repetitionPenalty } = config;
    if (model === undefined && traces === undefined) throw new ConfigError('Give --model, --traces, or both.');
    if (config.forceAnswers && model === undefined) throw new ConfigError('--force-answers needs --model.');
    if (shots > 0 && shotsData === undefined) throw new ConfigError('--shots needs --shots-data.');
    const items = await loadDataset({ ...fieldsOf(config), path: config.data });
    const examples = shotsData === undefined ? [] : await loadDataset({ ...fieldsOf(config), path: shotsData });
    if (examples.length < shots)
      throw new ConfigError(`${shotsData} has ${examples.length} examples, fewer than ${shots}.`);
    const opened = model === undefined ? undefined : await openModelOption(context, { ...config, model });
    let progress: ReturnType<typeof context.createProgress> | undefined;
    try {
      const evaluation = await evaluateTask({
        items: items.slice(0, limit),
        traces,
        opened,
        output: config.output,
        template: PROMPT_TEMPLATES[config.template],
        shots: examples.slice(0, shots),
        forceAnswers: config.forceAnswers,
        sampler: { temperature, topK, topP, minP, repetitionPenalty },
        samples: config.samples,
        maxTokens: config.maxTokens,
        seed: config.seed,
        chat: config.chat,
        chatDate: config.chatDate,
        maxBatch: config.batch,
        timeLimitMs: config.timeLimitMs,
        signal: context.signal,
        log: context.log,
        onStage: (label, total) => {
          progress?.stop();
          progress = context.createProgress({ label, total, unit: label === 'grading' ? 'responses' : 'traces' });
        },
        onDone: () => progress?.advance(1),
      });
      progress?.stop();
      if (!config.json) context.write(describe(evaluation));
      return evaluation;
    } finally {
      opened?.dispose();
    }
  },
});

function describe({
  numQuestions,
  numResponses,
  numBoxed,
  boxed,
  fallback,
  forced,
  precision,
}: TaskEvaluation): string {
  const cell = ({ correct, total, lower, upper }: Accuracy) => {
    if (total === 0) return '–'.padEnd(28);
    const percent = (value: number) => (100 * value).toFixed(1);
    return `${percent(correct / total)} % (${percent(lower)}–${percent(upper)}), n ${total}`.padEnd(28);
  };
  const row = (name: string, { all, finished, truncated }: SplitAccuracy) =>
    `${name.padEnd(10)}${cell(all)}${cell(finished)}${cell(truncated)}`.trimEnd();
  return `${[
    `${numQuestions} questions, ${numResponses} responses, ${numBoxed} with a box; 95 % intervals${precision === null ? '' : `; ${precision}`}`,
    `${''.padEnd(10)}${'all'.padEnd(28)}${'finished'.padEnd(28)}truncated`,
    row('boxed', boxed),
    row('fallback', fallback),
    ...(forced === null ? [] : [row('forced', forced)]),
  ].join('\n')}\n`;
}
