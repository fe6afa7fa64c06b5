/** `tradeoff --plan`: what a run will do and cost, without doing it. */
import type { RunConfig } from '../experiment/config.js';
import { describeEstimate, estimateRun, type RunEstimate } from '../experiment/estimate/estimate.js';
import { measureRates } from '../experiment/estimate/rates.js';
import { openTask } from '../experiment/open-task.js';
import { planRun } from '../experiment/plan.js';
import { defaultWorkers } from '../experiment/workers.js';
import { availableBytes } from '../training/memory-estimate.js';
import type { CommandContext } from './command.js';

/** Errors: ConfigError for models, attacks and kinds of proxy that the task does not have. */
export async function planTradeoff(context: CommandContext, config: RunConfig): Promise<RunEstimate> {
  const task = await openTask(config.task, { isPlan: true });
  try {
    const { stages } = await planRun(config, task);
    context.log('Measures how fast this machine samples and trains.');
    const rates = await measureRates({ batch: config.sampling.maxBatch, precision: config.precision });
    const estimate = await estimateRun({ config, task, stages }, rates);
    const freeBytes = availableBytes();
    const { numWorkers, threads } = defaultWorkers(config, { freeBytes, peakBytes: estimate.peakBytes });
    context.write(describeEstimate(estimate, { cores: numWorkers * threads, freeBytes }));
    return estimate;
  } finally {
    task.dispose();
  }
}
