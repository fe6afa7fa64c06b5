/** Models that go along with the one being sampled, token by token: the proxies of a defence. */
import type { LanguageModel } from '../model/language-model.js';
import { cacheBytesPerToken, cacheLayout } from './kv-cache.js';
import { createStepRunner, runnerPrecision, type StepRunner, type StepRunnerOptions } from './step-runner.js';

/**
 * A model whose results (logits, or the residual stream and its derivative along `direction`) are wanted for each token beside the
 * sampled model's. It sees the same tokens in the same slots. A processor reads `results(batch)`, which stand when its graph runs.
 */
export interface Companion {
  readonly model: LanguageModel;
  readonly direction?: StepRunnerOptions['direction'];
  /** Default: the compiler's. */
  readonly precision?: StepRunnerOptions['precision'];
  /** Set by the generator that the companion goes with. */
  runner: StepRunner | undefined;
}

/** Bytes that a companion keeps for each token. */
const bytesPerToken = ({ model, direction, precision }: Pick<Companion, 'model' | 'direction' | 'precision'>): number =>
  cacheBytesPerToken(cacheLayout(model.config, runnerPrecision(model, { precision }))) *
  (direction === undefined ? 1 : 2);

/** The part of the memory for keys and values that is the model's own. */
export function shareOfModel(model: LanguageModel, companions: readonly Companion[]): number {
  const own = bytesPerToken({ model });
  return own / companions.reduce((sum, companion) => sum + bytesPerToken(companion), own);
}

/** One runner that does everything on the model and its companions, each with a cache of its own; its result is the model's. */
export function createJoinedRunner(
  model: LanguageModel,
  companions: readonly Companion[],
  { maxBatch, maxCacheBytes }: { maxBatch: number; maxCacheBytes: number },
): StepRunner {
  const modelBytes = maxCacheBytes * shareOfModel(model, companions);
  const maxTokens = modelBytes / bytesPerToken({ model });
  const main = createStepRunner(model, { maxBatch, maxCacheBytes: modelBytes });
  const others = companions.map((companion) => {
    const runner = createStepRunner(companion.model, {
      maxBatch,
      maxCacheBytes: maxTokens * bytesPerToken(companion),
      direction: companion.direction,
      precision: companion.precision,
    });
    companion.runner = runner;
    return runner;
  });
  const runners = [main, ...others];
  // Runs of one runtime keep their order: asked for together, the next begins where the one before it ends.
  const together = async (run: (runner: StepRunner) => Promise<void>): Promise<void> => {
    await Promise.all(runners.map(run));
  };
  return {
    ensure(need, used) {
      for (const runner of runners) runner.ensure(need, used);
    },
    copy(from, to, count) {
      for (const runner of runners) runner.copy(from, to, count);
    },
    prefill: (step) => together((runner) => runner.prefill(step)),
    decode: (batch, rows, used) => together((runner) => runner.decode(batch, rows, used)),
    results: main.results,
    dispose() {
      for (const runner of runners) runner.dispose();
      for (const companion of companions) companion.runner = undefined;
    },
  };
}
