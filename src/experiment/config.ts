/** What a trade-off run may be told: one strict object, frozen into the run folder. */
import { z } from 'zod';
import type { PrecisionChoice } from '../engine/compiler.js';
import type { Precision } from '../engine/onnx/emitter.js';
import { ESTIMATOR_KINDS } from '../methods/antidistillation/estimators.js';
import { ConfigError } from '../support/errors.js';
import { trainingSchema } from '../training/config.js';
import { datasetTaskSchema } from './dataset/config.js';
import { embeddedTaskSchema } from './embedded/config.js';

/** Of run folders and of their configuration. A folder of another version is refused. */
export const RUN_SCHEMA_VERSION = 1;

const count = () => z.int().min(1);

const studentSchema = z.strictObject({
  trainingMultiple: z.number().positive().default(1).describe('length of the training, 1 being training.epochs'),
  attack: z.string().nullable().default(null).describe('how the student adapts, by the name the task has for it'),
  replicates: count().optional().describe('only in the first so many replicates of the arm'),
});

/** How a student differs from the plain one, and where. */
export type StudentConfig = z.output<typeof studentSchema>;

const shared = {
  name: z.string().optional().describe('shown in tables and figures; default: made from the settings'),
  students: z
    .array(studentSchema)
    .min(1)
    .default([studentSchema.parse({})])
    .describe('students distilled from the traces'),
  replicates: count().optional().describe('only in the first so many replicates of the run'),
};
const temperature = z.number().positive().max(1000).default(1).describe('divides the logits');
const support = z
  .number()
  .min(0)
  .max(1)
  .default(0.05)
  .describe(
    'tokens at least this fraction as probable as the likeliest, under the teacher at temperature 1, may be drawn',
  );

/** How strong a tilt is. Exactly one of them. */
const strengthSchema = z.union(
  [
    z.strictObject({ lambda: z.number().min(0).describe('λ itself, which is not portable between models') }),
    z.strictObject({ budgetNats: z.number().positive().describe('mean KL(tilted ‖ untilted) a token') }),
    z.strictObject({ maxAccuracyLoss: z.number().positive().lt(1).describe('accuracy the teacher may lose, 0–1') }),
  ],
  { error: 'expected one of lambda, budgetNats (above 0) and maxAccuracyLoss (above 0, below 1)' },
);

export type StrengthConfig = z.output<typeof strengthSchema>;

const tilt = {
  ...shared,
  temperature,
  support,
  strength: strengthSchema,
  estimator: z
    .enum(ESTIMATOR_KINDS)
    .default('jvp')
    .describe('jvp: the exact derivative, in the precision of the run; central, forward: differences, in float32'),
  order: z.enum(['paper', 'reference-code']).default('paper'),
  proxyKind: z.string().default('default').describe('a kind of proxy that the task has'),
  studentKind: z
    .enum(['blackBox', 'whiteBox'])
    .default('blackBox')
    .describe("whiteBox: the proxy is the student's own base"),
};

const armSchema = z.discriminatedUnion('arm', [
  z.strictObject({ arm: z.literal('greedy'), ...shared }),
  z.strictObject({ arm: z.literal('temperature'), ...shared, temperature }),
  z.strictObject({ arm: z.literal('maskedTemperature'), ...shared, temperature, support }),
  z.strictObject({ arm: z.literal('antidistillation'), ...tilt }),
  z.strictObject({
    arm: z.literal('permutation'),
    ...tilt,
    match: z
      .enum(['lambda', 'strength'])
      .default('lambda')
      .describe('lambda: the λ that antidistillation needs for the strength; strength: solved for with Δ permuted'),
  }),
  z.strictObject({
    arm: z.literal('rule'),
    ...shared,
    temperature,
    support,
    words: z.array(z.string().min(1)).min(1).describe('words preferred wherever the support allows them'),
    nats: z.number().positive().default(6).describe('added to their logits'),
  }),
]);

export type ArmConfig = z.output<typeof armSchema>;

const replicateSchema = z.strictObject({
  teacher: z.int().min(0).describe('seed of the teacher'),
  seed: z.int().min(0).describe('seed of proxy, student and traces'),
});

export type Replicate = z.output<typeof replicateSchema>;

const taskSchema = z.discriminatedUnion('kind', [embeddedTaskSchema, datasetTaskSchema]);

const portraits = z.strictObject({
  count: count().default(200).describe('validation questions that show how each model writes'),
});

const settings = {
  training: trainingSchema.omit({ seed: true }).describe('of students'),
  replicates: z.array(replicateSchema).min(1),
  arms: z.array(armSchema).min(1),
  holdout: z.strictObject({
    count: count().default(500).describe('traces that the proxy gradient is made of'),
    temperature: temperature.describe('at which the teacher samples them'),
  }),
  calibration: z.strictObject({
    count: count().default(200).describe('questions on which strengths are solved for'),
    tolerance: z.number().positive().default(0.05).describe('relative distance from the target'),
  }),
  traces: z.strictObject({ count: count().describe('questions answered for students to learn from') }),
  evaluation: z.strictObject({
    purpose: z.enum(['validation', 'test', 'sealed']).default('test'),
    count: count().default(300).describe('questions that teachers and students are asked'),
  }),
};

/**
 * A run. `quick` holds other values for `--quick`; models belong to the task. Anything that changes no result (workers, memory) may
 * differ from one call to the next.
 */
export const runSchema = z.strictObject({
  schemaVersion: z.literal(RUN_SCHEMA_VERSION),
  name: z.string().min(1),
  task: taskSchema,
  ...settings,
  holdout: settings.holdout.prefault({}),
  calibration: settings.calibration.prefault({}),
  evaluation: settings.evaluation.prefault({}),
  portraits: portraits.prefault({}),
  sampling: z
    .strictObject({
      maxTokens: count().optional().describe('most tokens of a response; default: what the task says'),
      maxBatch: count().default(32).describe('responses computed at a time'),
      chunk: count().optional().describe('questions after which traces are kept for good; default: 16 · maxBatch'),
    })
    .prefault({}),
  cost: z
    .strictObject({
      questions: count().default(64).describe('asked of each arm and of the plain teacher, in turns'),
      rounds: count().default(3),
    })
    .optional()
    .describe('tokens a second of each arm beside plain sampling; absent: not measured'),
  shownTraces: z.int().min(0).default(3).describe('questions whose traces the report shows side by side'),
  quick: z
    .strictObject({ ...settings, portraits, task: z.record(z.string(), z.unknown()).describe('merged into the task') })
    .partial()
    .optional()
    .describe('what --quick changes'),
  precision: z
    .enum(['auto', 'float32', 'bfloat16'])
    .default('auto')
    .describe(
      'of all that samples, scores and trains; auto: bfloat16 where this machine has matrix units or AVX-512 for it; gradients of proxies are float32',
    ),
  workers: count().optional().describe('processes that compute; default: one for each core, within the memory'),
  threads: count().optional().describe('threads of each; default: the cores divided among the workers'),
  memoryGiB: z.number().positive().optional().describe('most memory of all workers; default: what is free'),
});

export type RunConfig = z.output<typeof runSchema>;

/** The configuration with what its precisions come to on this machine. What training names for itself it keeps. */
export function withPrecision(config: RunConfig, effective: (choice: PrecisionChoice) => Precision): RunConfig {
  const precision = effective(config.precision);
  const { training } = config;
  const ofTraining = training.precision === 'auto' ? precision : effective(training.precision);
  return { ...config, precision, training: { ...training, precision: ofTraining } };
}

/** The run that is asked for. Errors: ConfigError where --quick is asked of a configuration without it. */
export function effectiveConfig({ quick, ...config }: RunConfig, isQuick: boolean): RunConfig {
  if (!isQuick) return config;
  if (quick === undefined) {
    throw new ConfigError(
      `quick: the configuration '${config.name}' says nothing about a quick run. Leave --quick out.`,
    );
  }
  const { task, ...rest } = quick;
  const changes = Object.entries(rest).filter(([, value]) => value !== undefined);
  return {
    ...config,
    ...Object.fromEntries(changes),
    task: task === undefined ? config.task : changedTask(config, task),
  };
}

function changedTask({ task }: RunConfig, change: Readonly<Record<string, unknown>>): RunConfig['task'] {
  const changed = taskSchema.safeParse(merged(task, change));
  if (changed.success) return changed.data;
  throw new ConfigError(`quick.task: ${z.prettifyError(changed.error)}`);
}

/** Objects are merged key by key; everything else takes the place of what was there. */
function merged(base: unknown, change: unknown): unknown {
  const isObject = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isObject(base) || !isObject(change)) return change;
  return {
    ...base,
    ...Object.fromEntries(Object.entries(change).map(([key, value]) => [key, merged(base[key], value)])),
  };
}
