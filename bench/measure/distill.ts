/** Steps of distillation beside supervised ones on as many tokens, and rollouts beside plain decoding, all in one process. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Compiler } from '../../src/engine/compiler.js';
import { createGenerator } from '../../src/inference/generator.js';
import { gadSchema } from '../../src/methods/gad/config.js';
import { createTransformerDiscriminator } from '../../src/methods/gad/discriminator.js';
import { createParticipants } from '../../src/methods/gad/participants.js';
import { planGad } from '../../src/methods/gad/plan.js';
import { takeStep } from '../../src/methods/gad/step.js';
import { openCellCache, writeCellCache } from '../../src/methods/white-box-kd/cell-cache.js';
import { whiteBoxSchema } from '../../src/methods/white-box-kd/config.js';
import { whiteBoxLoss } from '../../src/methods/white-box-kd/row-loss.js';
import { createTeacherPass } from '../../src/methods/white-box-kd/teacher-pass.js';
import { countParameters } from '../../src/model/parameters.js';
import { createRandom } from '../../src/support/random.js';
import { median } from '../../src/support/statistics.js';
import type { TrainingExample } from '../../src/training/batches.js';
import { trainingSchema } from '../../src/training/config.js';
import { type TrainingHooks, trainModel } from '../../src/training/train.js';
import { randomModel, randomTokens, withCompiler } from './session.js';
import { type ShapeName, shapeOf } from './shapes.js';

interface Options {
  readonly shape: ShapeName;
  readonly threads: number;
  readonly seconds: number;
}

const PROMPTS = 4;
const GROUP_SIZE = 8;
const PROMPT_TOKENS = 32;
const RESPONSE_TOKENS = 96;
const TOP_K = 64;
const WARM_UP = 2;
const LEAST = 3;
/** Small, so that the model stays what it is. */
const LEARNING_RATE = 1e-6;

export function measure(options: Options): Promise<object> {
  const work = async (compiler: Compiler) => ({
    ...options,
    numParameters: countParameters(shapeOf(options.shape).config),
    ...(await adversarial(compiler, options)),
    ...(await whiteBox(compiler, options)),
  });
  return withCompiler(options.threads, work);
}

const rowsOf = (count: number, vocabSize: number): TrainingExample[] =>
  Array.from({ length: count }, (_, row) => ({
    id: String(row),
    tokens: randomTokens(PROMPT_TOKENS + RESPONSE_TOKENS, vocabSize, `row ${row}`),
    responseStart: PROMPT_TOKENS,
  }));

/** In turns: plain decoding, an adversarial step, a supervised step on the same number of rows. */
async function adversarial(compiler: Compiler, { shape, seconds }: Options) {
  const student = randomModel(compiler, shapeOf(shape).config);
  const { vocabSize } = student.config;
  const numRows = PROMPTS * GROUP_SIZE;
  const config = gadSchema.parse({
    ...{ batchPrompts: PROMPTS, groupSize: GROUP_SIZE, temperature: 1, maxTokens: RESPONSE_TOKENS },
    ...{ learningRate: LEARNING_RATE, maxBatch: numRows, warmup: { epochs: 0 } },
    // All of a step's responses, and the teacher's, in one batch.
    microBatchTokens: (numRows + PROMPTS) * (PROMPT_TOKENS + RESPONSE_TOKENS),
  });
  const discriminator = createTransformerDiscriminator(compiler, {
    ...config.discriminator,
    config: student.config,
    from: student,
    random: createRandom('discriminator'),
  });
  const participants = createParticipants(student, discriminator, { config, tokenizer: undefined });
  const rows = rowsOf(numRows, vocabSize);
  const batch = rows.slice(0, PROMPTS);
  const plan = planGad(config, batch.length);
  const generator = createGenerator(student, { maxBatch: numRows });
  const requests = batch.map(({ id, tokens }) => ({
    id,
    promptTokens: tokens.slice(0, PROMPT_TOKENS),
    samples: GROUP_SIZE,
    maxTokens: RESPONSE_TOKENS,
    sampler: { temperature: 1 },
    seed: 0,
  }));
  const decode = () => generator.generate(requests, { onTrace: () => {} });
  const shared = await decode();
  const [plainMs, supervisedMs]: [number[], number[]] = [[], []];
  const steps: Awaited<ReturnType<typeof takeStep>>[] = [];
  const begin = performance.now();
  for (let round = -WARM_UP; round < LEAST || performance.now() - begin < seconds * 1000; round++) {
    const decoded = await timed(decode);
    const row = await takeStep(WARM_UP + round + 1, batch, { participants, config, plan });
    const supervised = await timed(() => participants.policy.imitate(rows, LEARNING_RATE));
    if (round < 0) continue;
    plainMs.push(decoded);
    supervisedMs.push(supervised);
    steps.push(row);
  }
  const partMs = (of: (row: (typeof steps)[number]) => number) => median(steps.map(of));
  const stepMs = partMs((row) => row.rolloutMs + row.scoreMs + row.studentMs + row.discriminatorMs);
  const plainTokensPerSecond = (1000 * numRows * RESPONSE_TOKENS) / median(plainMs);
  const rolloutTokensPerSecond = median(steps.map(({ numTokens, rolloutMs }) => (1000 * numTokens) / rolloutMs));
  generator.dispose();
  participants.dispose();
  discriminator.dispose();
  student.dispose();
  return {
    numSteps: steps.length,
    ...{ plainTokensPerSecond, rolloutTokensPerSecond, stepMs },
    rolloutShare: rolloutTokensPerSecond / plainTokensPerSecond,
    supervisedMs: median(supervisedMs),
    stepRatio: stepMs / median(supervisedMs),
    rolloutMs: partMs((row) => row.rolloutMs),
    scoreMs: partMs((row) => row.scoreMs),
    studentMs: partMs((row) => row.studentMs),
    discriminatorMs: partMs((row) => row.discriminatorMs),
    computedPromptShare: shared.numPrefilledTokens / (PROMPTS * PROMPT_TOKENS),
    largestDifferenceNats: Math.max(...steps.map(({ samplingDifferenceNats }) => samplingDifferenceNats ?? 0)),
  };
}

/** Supervised steps, and steps towards a teacher's distributions that lie on disk, in turns. */
async function whiteBox(compiler: Compiler, { shape, seconds }: Options) {
  const student = randomModel(compiler, shapeOf(shape).config);
  const rows = rowsOf(PROMPTS * GROUP_SIZE, student.config.vocabSize);
  const config = whiteBoxSchema.parse({ topK: TOP_K });
  const folder = await mkdtemp(join(tmpdir(), 'azeotrope-bench-'));
  const path = join(folder, 'teacher.cells');
  const microBatchTokens = rows.length * (PROMPT_TOKENS + RESPONSE_TOKENS);
  const pass = createTeacherPass(student, { topK: TOP_K, temperature: 1, microBatchTokens });
  const { vocabSize } = student.config;
  await writeCellCache(
    path,
    { topK: TOP_K, vocabSize, temperature: 1, teacher: 'itself', examples: rows },
    pass.cellsOf,
  );
  pass.dispose();
  const cache = openCellCache(path);
  const training = trainingSchema.parse({
    ...{
      learningRate: LEARNING_RATE,
      batchSize: rows.length,
      microBatchTokens,
      maxSteps: WARM_UP + LEAST,
      epochs: 1e6,
    },
    schedule: 'constant',
  });
  const run = async (loss?: TrainingHooks['loss']): Promise<number[]> => {
    const durations: number[] = [];
    await trainModel(student, rows, training, { loss, onStep: ({ durationMs }) => durations.push(durationMs) });
    return durations.slice(WARM_UP);
  };
  const distilled: TrainingHooks['loss'] = (model) =>
    whiteBoxLoss(
      {
        ...{ config, topK: TOP_K, teacher: 'itself', seed: 0 },
        cellsOfRows: async (examples) => examples.map((row) => cache.read(row)),
      },
      model,
    );
  const [plainMs, distilledMs]: [number[], number[]] = [[], []];
  const begin = performance.now();
  while (plainMs.length === 0 || performance.now() - begin < seconds * 1000) {
    plainMs.push(...(await run()));
    distilledMs.push(...(await run(distilled)));
  }
  cache.dispose();
  student.dispose();
  await rm(folder, { recursive: true });
  return { whiteBoxMs: median(distilledMs), whiteBoxRatio: median(distilledMs) / median(plainMs) };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
