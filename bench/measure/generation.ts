/** Batches of random prompts through the generator, clocked step by step. */
import type { Generator } from '../../src/inference/generator.js';
import { median } from '../../src/support/statistics.js';
import { randomTokens } from './session.js';

export interface GenerationShape {
  readonly batch: number;
  /** Tokens of a prompt, and of a response. */
  readonly prompt: number;
  readonly newTokens: number;
  readonly vocabSize: number;
}

export interface GenerationRun {
  readonly wallMs: number;
  /** Until every row had its first token. */
  readonly firstTokensMs: number;
  /** Between steps in which every row got a token. */
  readonly stepMs: readonly number[];
  readonly cpuMs: number;
}

/** Greedy; the model must have no end token, so that every row gives `newTokens`. */
export async function runGeneration(generator: Generator, shape: GenerationShape, seed = 0): Promise<GenerationRun> {
  const { batch, prompt, newTokens, vocabSize } = shape;
  const requests = Array.from({ length: batch }, (_, row) => ({
    id: String(row),
    promptTokens: randomTokens(prompt, vocabSize, `${seed}/${row}`),
    maxTokens: newTokens,
    sampler: { temperature: 0 },
  }));
  const cpu = process.cpuUsage();
  const started = performance.now();
  const ticks: number[] = [];
  const seen = new Set<string>();
  let numInStep = 0;
  let firstTokensMs = 0;
  await generator.generate(requests, {
    onToken({ id }) {
      if (seen.size < batch) {
        seen.add(id);
        if (seen.size < batch) return;
        firstTokensMs = performance.now() - started;
        ticks.push(performance.now());
        numInStep = 0;
        return;
      }
      numInStep += 1;
      if (numInStep < batch) return;
      numInStep = 0;
      ticks.push(performance.now());
    },
  });
  const wallMs = performance.now() - started;
  const { user, system } = process.cpuUsage(cpu);
  return {
    wallMs,
    firstTokensMs,
    stepMs: ticks.slice(1).map((tick, index) => tick - ticks[index]),
    cpuMs: (user + system) / 1000,
  };
}

/** Rates of several runs of one shape: medians over the runs. */
export function generationRates(runs: readonly GenerationRun[], shape: GenerationShape) {
  const { batch, prompt, newTokens } = shape;
  const perSecond = (count: number, ms: number) => (count / ms) * 1000;
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const last = (run: GenerationRun) => run.stepMs.slice(-Math.max(8, Math.floor(newTokens / 8)));
  const over = (rate: (run: GenerationRun) => number) => median(runs.map(rate));
  return {
    decodeTokensPerSecond: over((run) => perSecond(batch * run.stepMs.length, sum(run.stepMs))),
    /** Of the last eighth of the steps, where the context is full. */
    fullContextTokensPerSecond: over((run) => perSecond(batch * last(run).length, sum(last(run)))),
    medianStepMs: over((run) => median(run.stepMs)),
    promptTokensPerSecond: over((run) => perSecond(batch * prompt, run.firstTokensMs)),
    endToEndTokensPerSecond: over((run) => perSecond(batch * newTokens, run.wallMs)),
    cpuOverWall: over((run) => run.cpuMs / run.wallMs),
  };
}
