/** What a distillation run may be told: one strict object, frozen into the run folder. */
import { z } from 'zod';
import { gadSchema } from '../../methods/gad/config.js';
import { whiteBoxSchema } from '../../methods/white-box-kd/config.js';
import { trainingSchema } from '../../training/config.js';
import { datasetTaskSchema } from '../dataset/config.js';
import { embeddedTaskSchema } from '../embedded/config.js';

export const METHODS = ['seqkd', 'white-box-kd', 'gkd', 'gad'] as const;
export type Method = (typeof METHODS)[number];

const count = () => z.int().min(1);
const task = z.discriminatedUnion('kind', [embeddedTaskSchema, datasetTaskSchema]);

const priceSchema = z.strictObject({
  promptPerMillion: z.number().min(0).describe('price of a million tokens of prompts'),
  responsePerMillion: z.number().min(0).describe('price of a million tokens of responses'),
  currency: z.string().min(1).default('USD'),
});

export type Price = z.output<typeof priceSchema>;

const variantSchema = z.strictObject({
  method: z.enum(METHODS),
  name: z.string().min(1).describe('what tables call it'),
  set: z
    .record(z.string(), z.unknown())
    .default({})
    .describe('values that differ, by their place: gad.discriminator.isFrozen: true'),
  seeds: z.array(z.int().min(0)).optional().describe('only these; default: those of the run'),
});

export type Variant = z.output<typeof variantSchema>;

export const distillSchema = z.strictObject({
  schemaVersion: z.literal(1),
  name: z.string().min(1),
  task,
  inDistribution: z
    .string()
    .optional()
    .describe(
      'questions whose text matches this regular expression are learned from; the others are out of distribution',
    ),
  outOfDistribution: task.optional().describe('another task whose test questions are out of distribution'),
  otherTasks: z
    .record(z.string(), task)
    .default({})
    .describe('further tasks whose questions students are asked too, by the name that tables give them'),
  teacher: z
    .strictObject({
      seed: z.int().min(0).default(1),
      kind: z.string().default('default'),
      temperature: z.number().min(0).default(1).describe('of its responses'),
      traces: z.string().optional().describe('file of its responses (.jsonl rows {id, text}); nobody is asked then'),
      url: z
        .string()
        .optional()
        .describe('OpenAI-compatible endpoint that answers in its place, such as https://host/v1'),
      model: z.string().optional().describe('name of the model at that endpoint'),
      requestsPerMinute: count().optional().describe('most requests to the endpoint in a minute; default: no limit'),
      concurrency: z.int().min(1).max(256).default(8).describe('requests to the endpoint at a time'),
      onFailure: z
        .enum(['stop', 'skip'])
        .default('stop')
        .describe(
          'what to do about questions that the endpoint does not answer after all tries; skip: learn from the others',
        ),
      price: priceSchema.optional().describe('of the endpoint, so that what was spent is told'),
    })
    .prefault({}),
  student: z.strictObject({ kind: z.string().default('default') }).prefault({}),
  seeds: z.array(z.int().min(0)).min(1).default([1]).describe('of student, order and samples'),
  traces: z.strictObject({ count: count().describe('questions that the teacher answers') }),
  validation: z.strictObject({ count: count().default(200) }).prefault({}),
  evaluation: z
    .strictObject({ purpose: z.enum(['validation', 'test', 'sealed']).default('test'), count: count().default(300) })
    .prefault({}),
  sampling: z
    .strictObject({ maxTokens: count().optional().describe("default: the task's"), maxBatch: count().default(32) })
    .prefault({}),
  training: trainingSchema.omit({ seed: true }).describe('of seqkd, white-box-kd and gkd'),
  whiteBox: whiteBoxSchema.prefault({}),
  gad: gadSchema.omit({ seed: true }).prefault({}),
  variants: z.array(variantSchema).min(1),
  shownResponses: z.int().min(0).default(4).describe('questions whose answers the report shows side by side'),
  toySteps: z.int().min(0).default(3000).describe('steps of the toy beside the run; 0: none'),
  precision: z
    .enum(['auto', 'float32', 'bfloat16'])
    .default('float32')
    .describe(
      'of all that samples, scores and trains; auto: bfloat16 where this machine has matrix units or AVX-512 for it. The default is what a machine without them computes too; bfloat16 is several times faster (docs/gad.md compares)',
    ),
  threads: count().optional(),
});

export type DistillConfig = z.output<typeof distillSchema>;
