/** Rough times and memory of stages: for the order of work, the time left and the number of workers. */
import type { RunConfig } from './config.js';
import { estimateRun } from './estimate/estimate.js';
import type { AnyStage } from './stage.js';
import type { ModelTokens, Task } from './task.js';

/** Of one thread of a common machine. Only their ratio matters: what is left is told from the time that was needed so far. */
const NOMINAL_RATES = { sampledFlopPerSecond: 3e10, trainedFlopPerSecond: 6e10, source: '' };
/** Where the size of a model is not known. */
const NOMINAL_TOKENS_PER_SECOND = 30_000;
/** Opening files and compiling graphs. */
const LEAST_SECONDS = 0.3;

export interface StageCosts {
  /** By id. */
  readonly seconds: ReadonlyMap<string, number>;
  /** Of the largest stage; undefined where the size of a model is not known. */
  readonly peakBytes: number | undefined;
}

export async function estimateCosts(config: RunConfig, task: Task, stages: readonly AnyStage[]): Promise<StageCosts> {
  const estimate = await estimateRun({ config, task, stages }, NOMINAL_RATES);
  const tokensOf = (parts: readonly ModelTokens[] = []) => parts.reduce((sum, { tokens }) => sum + tokens, 0);
  const seconds = stages.map(({ id, work }, index) => {
    const nominal = (tokensOf(work.sampled) + tokensOf(work.trained)) / NOMINAL_TOKENS_PER_SECOND;
    return [id, LEAST_SECONDS + (estimate.stages[index].seconds ?? nominal)] as const;
  });
  return { seconds: new Map(seconds), peakBytes: estimate.peakBytes };
}
