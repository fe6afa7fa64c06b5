/** LoRA fine-tuning of a model file on word problems: loss and answers on held-out ones, before and after. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Compiler } from '../../src/engine/compiler.js';
import { createGenerator } from '../../src/inference/generator.js';
import { openModel } from '../../src/jobs/open-model.js';
import { trainRows } from '../../src/jobs/train-rows.js';
import { readJsonl } from '../../src/support/jsonl.js';
import { createRandom, shuffle } from '../../src/support/random.js';
import { encodeRow } from '../../src/tokenizer/rows.js';
import { trainingSchema } from '../../src/training/config.js';
import { withCompiler } from './session.js';

interface FinetuneOptions {
  readonly model: string;
  readonly threads: number;
  /** SVAMP: Body, Question, Equation, Answer. */
  readonly problems: string;
  readonly numTraining: number;
  readonly numHeldOut: number;
  readonly epochs: number;
}

interface Problem {
  readonly id: string;
  readonly prompt: string;
  readonly response: string;
}

const MAX_ANSWER_TOKENS = 32;

export async function measure(options: FinetuneOptions): Promise<object> {
  const { model, numTraining, numHeldOut } = options;
  const problems = shuffle(await readProblems(options.problems), createRandom(1)).slice(0, numTraining + numHeldOut);
  const heldOut = problems.slice(numTraining);
  const folder = await mkdtemp(join(tmpdir(), 'azeotrope-finetune-'));
  const [traces, validation, output] = ['train.jsonl', 'held-out.jsonl', 'adapter'].map((name) => join(folder, name));
  const lines = (rows: readonly Problem[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
  try {
    await writeFile(traces, lines(problems.slice(0, numTraining)));
    await writeFile(validation, lines(heldOut));
    return await withCompiler(options.threads, async (compiler) => {
      const correctBefore = await countCorrect(compiler, { model }, heldOut);
      const config = trainingSchema.parse({
        epochs: options.epochs,
        batchSize: 16,
        learningRate: 1e-3,
        seed: 1,
        checkpointEverySteps: 0,
        lora: {},
      });
      const stepMs: number[] = [];
      const started = performance.now();
      const result = await trainRows({
        model,
        traces,
        validation,
        output,
        config,
        compiler,
        onStep: ({ durationMs }) => stepMs.push(durationMs),
      });
      const jobSeconds = (performance.now() - started) / 1000;
      const correctAfter = await countCorrect(compiler, { model, adapter: output }, heldOut);
      return {
        ...options,
        numSteps: result.numSteps,
        lossNatsBefore: result.validation?.lossNatsBefore,
        lossNatsAfter: result.validation?.lossNatsAfter,
        correctFractionBefore: correctBefore / heldOut.length,
        correctFractionAfter: correctAfter / heldOut.length,
        jobSeconds,
        trainSeconds: stepMs.reduce((a, b) => a + b, 0) / 1000,
        responseTokensPerSecond: (result.numTokens / stepMs.reduce((a, b) => a + b, 0)) * 1000,
      };
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function readProblems(path: string): Promise<Problem[]> {
  const problems: Problem[] = [];
  for await (const { row } of readJsonl(path)) {
    const { ID, Body, Question, Equation, Answer } = row as Record<string, string>;
    const body = Body.trim().replace(/([^.?!,])$/, '$1.');
    const equation = Equation.replaceAll(/(\d+)\.0\b/g, '$1').replace(/^\( (.*) \)$/, '$1');
    problems.push({ id: ID, prompt: `${body} ${Question}`, response: `${equation} = ${Number(Answer)}` });
  }
  return problems;
}

/** Greedy answers whose last number is the right one. */
async function countCorrect(
  compiler: Compiler,
  { model: path, adapter }: { model: string; adapter?: string },
  problems: readonly Problem[],
): Promise<number> {
  const { model, tokenizer } = await openModel(path, { compiler, adapter });
  const generator = createGenerator(model, { tokenizer });
  const right = new Map(problems.map(({ id, response }) => [id, Number(response.split('= ').at(-1))]));
  let numCorrect = 0;
  const requests = problems.map(({ id, prompt }) => {
    const row = encodeRow({ id, prompt }, { tokenizer, vocabSize: model.config.vocabSize, chat: 'auto', where: id });
    return { id, promptTokens: row.tokens, maxTokens: MAX_ANSWER_TOKENS, sampler: { temperature: 0 } };
  });
  await generator.generate(requests, {
    onTrace({ id, text = '' }) {
      const last = text
        .replaceAll(',', '')
        .match(/-?\d+(\.\d+)?/g)
        ?.at(-1);
      if (last !== undefined && Number(last) === right.get(id)) numCorrect += 1;
    },
  });
  generator.dispose();
  model.dispose();
  return numCorrect;
}
