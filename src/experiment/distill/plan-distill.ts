/** What a distillation run will cost, told before it begins. */

import { existsSync } from 'node:fs';
import { planGad } from '../../methods/gad/plan.js';
import { openCheckpoint } from '../../model/checkpoint.js';
import type { TransformerConfig } from '../../model/config.js';
import { countParameters } from '../../model/parameters.js';
import { batchesPerEpoch } from '../../training/batches.js';
import { estimateInferenceBytes, estimateTrainingBytes } from '../../training/memory-estimate.js';
import { samplingFlop, trainingFlop } from '../estimate/flop.js';
import type { Rates } from '../estimate/rates.js';
import { openTask } from '../open-task.js';
import type { ModelSource } from '../task.js';
import type { DistillConfig, Method } from './config.js';
import { type PlannedStudent, planStudents } from './variants.js';

export interface StudentPlan {
  readonly method: Method;
  readonly variant: string;
  readonly seed: number;
  readonly numSteps: number;
  /** Tokens the student writes while it is trained. */
  readonly sampledTokens: number;
  /** Tokens that go through a forward and a backward pass, prompts included, of student and discriminator together. */
  readonly trainedTokens: number;
  /** Undefined where the size of the student is not known. */
  readonly memoryBytes: number | undefined;
  /** On one thread. */
  readonly seconds: number | undefined;
}

/** Share of a training pass that a forward pass is. */
const FORWARD = 1 / 3;
const FLOAT_BYTES = 4;

/** Plans every student. Needs neither models nor questions where the task describes its models. Errors: those of `planStudents`. */
export async function planDistill(
  config: DistillConfig,
  methods: readonly Method[],
  rates: Rates,
): Promise<StudentPlan[]> {
  const students = planStudents(config, methods);
  const task = await openTask(config.task, { isPlan: true });
  try {
    const teacherSeed = config.teacher.seed;
    const plans: StudentPlan[] = [];
    for (const student of students) {
      const request = { role: 'student' as const, seed: student.seed, kind: config.student.kind, teacherSeed };
      const shape = await shapeOf(await task.modelSource(request));
      plans.push(planOne(student, { shape, rates, lengths: task.expectedTokens }));
    }
    return plans;
  } finally {
    task.dispose();
  }
}

/** Of a model that is here, or that the task describes. */
async function shapeOf(source: ModelSource): Promise<TransformerConfig | undefined> {
  if (source.config !== undefined || source.kind === 'build' || !existsSync(source.location)) return source.config;
  const checkpoint = await openCheckpoint(source.location);
  checkpoint.dispose();
  return checkpoint.config;
}

function planOne(
  student: PlannedStudent,
  {
    shape,
    rates,
    lengths,
  }: { shape: TransformerConfig | undefined; rates: Rates; lengths: { prompt: number; response: number } },
): StudentPlan {
  const { method, variant, seed, numTraces, training, gad } = student;
  const time = lengths.prompt + lengths.response;
  const work =
    method === 'gad'
      ? adversarialWork(student, time, lengths.response)
      : supervisedWork(student, time, lengths.response);
  const batch = Math.max(1, Math.floor((method === 'gad' ? gad : training).microBatchTokens / time));
  return {
    ...{
      method,
      variant,
      seed,
      numSteps: work.numSteps,
      sampledTokens: work.sampledTokens,
      trainedTokens: work.trainedTokens,
    },
    memoryBytes:
      shape &&
      memoryOf(shape, {
        method,
        batch: Math.min(batch, numTraces),
        time,
        rollouts: Math.min(gad.maxBatch, gad.batchPrompts * gad.groupSize),
      }),
    seconds:
      shape &&
      (work.sampledTokens * samplingFlop(shape, time)) / rates.sampledFlopPerSecond +
        (work.trainedTokens * trainingFlop(shape, time)) / rates.trainedFlopPerSecond,
  };
}

interface Work {
  readonly numSteps: number;
  readonly sampledTokens: number;
  readonly trainedTokens: number;
}

function supervisedWork(
  { training, whiteBox, method, numTraces }: PlannedStudent,
  time: number,
  response: number,
): Work {
  const perEpoch = batchesPerEpoch(numTraces, training.batchSize);
  const numSteps = Math.min(training.maxSteps ?? Number.POSITIVE_INFINITY, Math.ceil(training.epochs * perEpoch));
  const rows = numSteps * Math.min(training.batchSize, numTraces);
  const share = method === 'gkd' ? whiteBox.studentFraction : 0;
  return { numSteps, sampledTokens: share * rows * response, trainedTokens: rows * time };
}

/**
 * Rollouts; scores of all responses; in adversarial steps the reference, and the student before later updates on the same rollouts;
 * updates of student and discriminator.
 */
function adversarialWork({ gad, numTraces }: PlannedStudent, time: number, response: number): Work {
  const { warmupSteps, totalSteps } = planGad(gad, numTraces);
  const prompts = Math.min(gad.batchPrompts, numTraces);
  const isWarm = gad.warmup.discriminator;
  const warmRows = isWarm ? prompts * gad.warmup.groupSize : 0;
  const rows = prompts * gad.groupSize;
  const warm = Math.min(warmupSteps, totalSteps);
  const steps = totalSteps - warm;
  const laterRows = gad.groupSize * (prompts - Math.ceil(prompts / gad.updatesPerRollout));
  const critic = (all: number, isUpdated: boolean) => (all + prompts) * (FORWARD + (isUpdated ? 1 : 0));
  const trainedRows =
    warm * ((gad.warmup.generator ? prompts : 0) + (isWarm ? critic(warmRows, true) : 0)) +
    steps * (rows + FORWARD * ((gad.klWeight > 0 ? rows : 0) + laterRows) + critic(rows, !gad.discriminator.isFrozen));
  return {
    numSteps: totalSteps,
    sampledTokens: (warm * warmRows + steps * rows) * response,
    trainedTokens: trainedRows * time,
  };
}

/** Adversarial training holds student and discriminator with their optimisers, the reference, the best student and a cache. */
function memoryOf(
  shape: TransformerConfig,
  { method, batch, time, rollouts }: { method: Method; batch: number; time: number; rollouts: number },
): number {
  const training = estimateTrainingBytes(shape, { batch, time, checkpointing: false });
  if (method !== 'gad') return training.totalBytes;
  const { optimizerBytes } = training;
  const cache = estimateInferenceBytes(shape, { batch: rollouts, context: time }).activationBytes;
  return training.totalBytes + optimizerBytes + 3 * FLOAT_BYTES * countParameters(shape) + cache;
}

/** The plan as a table. */
export function describePlan(plans: readonly StudentPlan[], { source }: Rates): string {
  const lines = [
    ['student', 'seed', 'steps', 'sampled', 'trained', 'memory', 'one thread'],
    ...plans.map((plan) => [
      plan.variant,
      String(plan.seed),
      String(plan.numSteps),
      tokens(plan.sampledTokens),
      tokens(plan.trainedTokens),
      plan.memoryBytes === undefined ? 'not known' : `${(plan.memoryBytes / 1e9).toFixed(1)} GB`,
      plan.seconds === undefined ? 'not known' : duration(plan.seconds),
    ]),
  ];
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  const table = lines.map((line) =>
    line.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))).join('  '),
  );
  return `${table.join('\n')}\n\n${source}\n`;
}

const tokens = (value: number): string =>
  value === 0 ? '–' : value < 1e6 ? `${Math.round(value / 1e3)} k` : `${(value / 1e6).toPrecision(3)} M`;

function duration(seconds: number): string {
  if (seconds < 5400) return `${Math.max(1, Math.round(seconds / 60))} min`;
  return seconds < 172_800 ? `${(seconds / 3600).toFixed(1)} h` : `${Math.round(seconds / 86_400)} days`;
}
