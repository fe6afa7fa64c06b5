/** What a run says of a task whose questions lie in files. */
import { z } from 'zod';
import { datasetSchema, KNOWN_DATASETS } from '../../tasks/datasets/config.js';
import { PROMPT_TEMPLATES } from '../../tasks/datasets/prompts.js';
import { TOKENIZER_MATCHES } from '../../tokenizer/fingerprint.js';
import { trainingSchema } from '../../training/config.js';

const KNOWN = Object.keys(KNOWN_DATASETS) as (keyof typeof KNOWN_DATASETS)[];
const TEMPLATES = Object.keys(PROMPT_TEMPLATES) as (keyof typeof PROMPT_TEMPLATES)[];

const { path, questionField, answerField, solutionField: _solution, ...furtherFields } = datasetSchema.shape;

/** Fields of a file: those of a known data set, and over them those that are named. */
const fields = {
  known: z.enum(KNOWN).optional().describe('fields of a public data set'),
  path,
  questionField: questionField.unwrap().optional(),
  answerField: answerField.unwrap().optional(),
  ...furtherFields,
};

const fraction = z.number().gt(0).max(1).optional();

/** Shares of the questions of a file. `models` is for what derived models are trained on. */
const splitsSchema = z.strictObject({
  holdout: fraction.describe('whose traces the proxy gradient is made of'),
  distil: fraction.describe('whose traces students learn from'),
  calibration: fraction.describe('on which strengths are solved for; absent everywhere: those of validation'),
  validation: fraction.describe('absent everywhere: those of calibration'),
  test: fraction,
  sealed: fraction,
  models: fraction.describe('whose solutions derived models are trained on'),
});

const solutionSchema = z.strictObject({
  field: z.string().min(1).describe('field of the worked solution, or of the equation'),
  kind: z
    .enum(['text', 'equation'])
    .default('text')
    .describe(
      'equation: arithmetic in infix or prefix notation, from which steps are written; rows whose answer it does not give are left out',
    ),
  replace: z
    .array(z.strictObject({ pattern: z.string().min(1), with: z.string() }))
    .default([])
    .describe('regular expressions that are replaced everywhere, in this order; `with` may hold $1'),
});

const sourceSchema = z.strictObject({
  ...fields,
  splits: splitsSchema,
  solution: solutionSchema
    .optional()
    .describe('worked solutions: for `derive.train.on: solutions`, and for the loss of students'),
});

export type SourceConfig = z.output<typeof sourceSchema>;

const templateSchema = z.strictObject({
  instruction: z.string().optional(),
  question: z.string().min(1),
  shot: z.string().optional(),
});

const promptSchema = z.strictObject({
  template: z
    .union([z.enum(TEMPLATES), templateSchema])
    .default('boxed')
    .describe('a known template, or one with {question}, {choices} and, in `shot`, {answer}'),
  system: z.string().optional().describe("the conversation's system message, for models with a chat template"),
  shots: z
    .strictObject({
      ...fields,
      count: z.int().min(1).describe('solved examples before each question'),
      isOfGroup: z.boolean().default(false).describe('examples of the group of the question (`groupField`) alone'),
    })
    .optional(),
});

const deriveTrainingSchema = trainingSchema.omit({ seed: true, evaluateEverySteps: true }).extend({
  on: z
    .enum(['solutions', 'holdout'])
    .describe("solutions: worked ones of the split `models`; holdout: the teacher's holdout traces"),
  rows: z.int().min(1).describe('most rows'),
});

const deriveSchema = z.strictObject({
  from: z
    .string()
    .min(1)
    .describe('teacher, proxy or student: the model of that role; else a model as `model` names it'),
  layers: z.int().min(1).optional().describe('keep the first so many layers'),
  train: deriveTrainingSchema.optional().describe('then train it'),
});

const modelSchema = z.union([
  z.string().min(1),
  z.strictObject({
    model: z.string().min(1).describe('a folder, a .gguf file, or org/name[@revision] on the hub'),
    config: z
      .record(z.string(), z.unknown())
      .optional()
      .describe('its config.json, or the part that decides its size: to plan without the model'),
  }),
  z.strictObject({ derive: deriveSchema }),
]);

export type ModelConfig = z.output<typeof modelSchema>;
export type DeriveConfig = z.output<typeof deriveSchema>;

export const datasetTaskSchema = z.strictObject({
  kind: z.literal('dataset'),
  name: z.string().min(1),
  description: z.string().optional().describe('a paragraph for the report'),
  sources: z
    .array(sourceSchema)
    .min(1)
    .describe('files of questions; a question goes where the hash of its text points, and stands in one purpose alone'),
  salt: z.string().default('').describe('other splits of the same files'),
  splitBy: z
    .enum(['text', 'template'])
    .default('text')
    .describe('template: questions that differ in names and numbers alone serve one purpose'),
  prompt: promptSchema.prefault({}),
  chat: z.enum(['auto', 'never']).default('auto').describe('auto: prompts are chat messages where there is a template'),
  chatDate: z.string().default('2024-07-26').describe('date that chat templates write where they ask for one'),
  maxTokens: z.int().min(1).default(1024).describe('most tokens of a response'),
  forceAnswers: z.boolean().default(true).describe('a second, greedy pass over responses without a box'),
  timeLimitMs: z.int().min(1).default(1000).describe('longest time of one comparison of answers'),
  expectedTokens: z
    .strictObject({ prompt: z.int().min(1).default(150), response: z.int().min(1).default(300) })
    .prefault({})
    .describe('rough lengths, for --plan'),
  models: z.strictObject({
    teacher: modelSchema,
    proxy: modelSchema,
    student: modelSchema,
    proxyTokenizer: z
      .enum(TOKENIZER_MATCHES)
      .default('equal')
      .describe("how far the tokenizers of proxies must be the teacher's; special tokens that differ have Δ 0"),
    proxyKinds: z
      .record(z.string(), z.strictObject({ description: z.string(), model: modelSchema }))
      .default({})
      .describe('further proxies, by the name that arms have for them'),
  }),
});

export type DatasetTaskConfig = z.output<typeof datasetTaskSchema>;
