/** Δ of the tokens of a few traces, whoever sampled them: what the report shows side by side. */
import { createDeltaEstimator } from '../../methods/antidistillation/estimators.js';
import { readProxy } from '../../methods/antidistillation/proxy.js';
import type { Stage, StageResults } from '../stage.js';
import type { StageContext } from './context.js';
import { readTraces } from './traces.js';

/** Digits that are shown. */
const DIGITS = 6;

export async function runDeltas(stage: Stage<'deltas'>, context: StageContext): Promise<StageResults['deltas']> {
  const { inputs, models, needs } = stage;
  const { model } = await context.open(models.proxy);
  const { gradient, epsilon } = readProxy(context.folderOf(needs.proxy), model.config);
  const traces = await readTraces(context.folderOf(needs.traces), inputs.count);
  const estimator = createDeltaEstimator(model, gradient, { kind: 'central', epsilon });
  try {
    const rows = traces.map(({ id, promptTokens, tokens }) => ({ id, tokens: [...promptTokens, ...tokens] }));
    const numbers = await estimator.estimate(rows, { signal: context.signal });
    return {
      traces: traces.map(({ id, promptTokens }, index) => ({
        id,
        deltas: numbers[index].values
          .slice(promptTokens.length)
          .map((value) => (value === null ? null : Number(value.toPrecision(DIGITS)))),
      })),
    };
  } finally {
    estimator.dispose();
  }
}
