/** Options of commands that read questions with known answers. */
import { z } from 'zod';
import { datasetSchema, KNOWN_DATASETS } from '../tasks/datasets/config.js';
import { PROMPT_TEMPLATES } from '../tasks/datasets/prompts.js';

const { questionField, answerField, choicesField, idField, answerPattern } = datasetSchema.shape;
const known = Object.keys(KNOWN_DATASETS) as (keyof typeof KNOWN_DATASETS)[];
const templates = Object.keys(PROMPT_TEMPLATES) as (keyof typeof PROMPT_TEMPLATES)[];

/** Which fields of the file are what. */
export const datasetOptions = {
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
};

export const templateOption = z.enum(templates).default('boxed').meta({ description: 'How a question is asked' });

export const timeLimitOption = z
  .int()
  .min(1)
  .default(1000)
  .meta({ description: 'Longest time of one comparison, in milliseconds' });

/** The fields of a known task, and over them those that were named. */
export function fieldsOf(config: { task?: keyof typeof KNOWN_DATASETS | undefined } & Record<string, unknown>) {
  const names = ['questionField', 'answerField', 'choicesField', 'idField', 'answerPattern'] as const;
  const named = names.filter((name) => config[name] !== undefined).map((name) => [name, config[name]]);
  return { ...(config.task && KNOWN_DATASETS[config.task]), ...Object.fromEntries(named) };
}
