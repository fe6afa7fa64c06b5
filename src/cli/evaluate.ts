import { z } from 'zod';
import type { Accuracy, SplitAccuracy } from '../evaluation/task-accuracy.js';
import { evaluateTask, type TaskEvaluation } from '../jobs/evaluate-task.js';
import { openModel } from '../jobs/open-model.js';
import { ConfigError } from '../support/errors.js';
import { datasetSchema, KNOWN_DATASETS } from '../tasks/datasets/config.js';
import { loadDataset } from '../tasks/datasets/items.js';
import { PROMPT_TEMPLATES } from '../tasks/datasets/prompts.js';
import { commandOptions, defineCommand } from './command.js';
import { adapterOption, chatDateOption, chatOption, modelOption, openOptions, samplerOptions } from './model-option.js';

const { questionField, answerField, choicesField, idField, answerPattern } = datasetSchema.shape;
const known = Object.keys(KNOWN_DATASETS) as (keyof typeof KNOWN_DATASETS)[];
const templates = Object.keys(PROMPT_TEMPLATES) as (keyof typeof PROMPT_TEMPLATES)[];

export const evaluate = defineCommand({
  description:
    'Measures the accuracy of a model, or of stored traces, on questions with known answers, with 95 % intervals. The same command ' +
    'continues a stopped run.',
  options: commandOptions({
    data: z.string().meta({ description: 'Questions and answers (.jsonl, .parquet)', placeholder: 'file' }),
    task: z.enum(known).optional().meta({ description: 'Fields of a known data set', whenAbsent: 'question, answer' }),
    questionField: z
      .string()
      .optional()
      .meta({ ...questionField.meta(), placeholder: 'field', whenAbsent: 'of the task' }),
    answerField: z
      .string()
      .optional()
      .meta({ ...answerField.meta(), placeholder: 'field', whenAbsent: 'of the task' }),
    choicesField: z
      .string()
      .optional()
      .meta({ ...choicesField.meta(), placeholder: 'field', whenAbsent: 'of the task' }),
    idField: z
      .string()
      .optional()
      .meta({ ...idField.meta(), placeholder: 'field', whenAbsent: 'of the task' }),
    answerPattern: z
      .string()
      .optional()
      .meta({ ...answerPattern.meta(), placeholder: 'regex', whenAbsent: 'of the task' }),
    model: modelOption.optional(),
    adapter: adapterOption,
    traces: z
      .string()
      .optional()
      .meta({ description: 'Stored traces, instead of asking the model', placeholder: 'file' }),
    output: z
      .string()
      .meta({ description: 'Folder of traces, graded responses and the result', placeholder: 'folder' }),
    limit: z.int().min(1).optional().meta({ description: 'Questions asked, from the first', whenAbsent: 'all' }),
    template: z.enum(templates).default('boxed').meta({ description: 'How a question is asked' }),
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
    timeLimitMs: z.int().min(1).default(1000).meta({ description: 'Longest time of one comparison, in milliseconds' }),
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
    const opened = model === undefined ? undefined : await openModel(model, openOptions(context, config));
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

/** The fields of a known task, and over them those that were named. */
function fieldsOf(config: { task?: keyof typeof KNOWN_DATASETS | undefined } & Record<string, unknown>) {
  const names = ['questionField', 'answerField', 'choicesField', 'idField', 'answerPattern'] as const;
  const named = names.filter((name) => config[name] !== undefined).map((name) => [name, config[name]]);
  return { ...(config.task && KNOWN_DATASETS[config.task]), ...Object.fromEntries(named) };
}

function describe({ numQuestions, numResponses, numBoxed, boxed, fallback, forced }: TaskEvaluation): string {
  const cell = ({ correct, total, lower, upper }: Accuracy) => {
    if (total === 0) return '–'.padEnd(28);
    const percent = (value: number) => (100 * value).toFixed(1);
    return `${percent(correct / total)} % (${percent(lower)}–${percent(upper)}), n ${total}`.padEnd(28);
  };
  const row = (name: string, { all, finished, truncated }: SplitAccuracy) =>
    `${name.padEnd(10)}${cell(all)}${cell(finished)}${cell(truncated)}`.trimEnd();
  return `${[
    `${numQuestions} questions, ${numResponses} responses, ${numBoxed} with a box; 95 % intervals`,
    `${''.padEnd(10)}${'all'.padEnd(28)}${'finished'.padEnd(28)}truncated`,
    row('boxed', boxed),
    row('fallback', fallback),
    ...(forced === null ? [] : [row('forced', forced)]),
  ].join('\n')}\n`;
}
