/** The first traces of an arm, token by token, with Δ under a proxy whoever sampled them: what the report shows side by side. */
import { checkVocabulary } from '../../jobs/open-proxy.js';
import { createDeltaEstimator } from '../../methods/antidistillation/estimators.js';
import { readProxy } from '../../methods/antidistillation/proxy.js';
import type { Tokenizer } from '../../tokenizer/types.js';
import type { Stage, StageResults } from '../stage.js';
import { type StageContext, tokenizerOf } from './context.js';
import { type JudgedTrace, readTraces } from './traces.js';

/** Digits that are shown. */
const DIGITS = 6;

export async function runShown(stage: Stage<'shown'>, context: StageContext): Promise<StageResults['shown']> {
  const { inputs, models, needs } = stage;
  const tokenizer = tokenizerOf(await context.open(models.teacher));
  const traces = await readTraces(context.folderOf(needs.traces), inputs.count);
  const deltas = models.proxy === undefined ? undefined : await deltasOf(stage, context, traces);
  return {
    traces: traces.map(({ id, isCorrect, tokens, logprobs }, index) => ({
      id,
      isCorrect,
      tokens: piecesOf(tokenizer, tokens).map((text, at) => ({
        text,
        delta: shorten(deltas?.[index][at] ?? null),
        logProbability: shorten(logprobs[at] ?? null),
      })),
    })),
  };
}

const shorten = (value: number | null): number | null => (value === null ? null : Number(value.toPrecision(DIGITS)));

async function deltasOf(
  { models, needs }: Stage<'shown'>,
  context: StageContext,
  traces: readonly JudgedTrace[],
): Promise<(number | null)[][]> {
  const [teacher, proxy] = [await context.open(models.teacher), await context.open(models.proxy)];
  const unsharedIds = checkVocabulary(teacher, proxy, context.task);
  const { model } = proxy;
  const { gradient, epsilon } = readProxy(context.folderOf(needs.proxy), model.config);
  const estimator = createDeltaEstimator(model, gradient, { kind: 'central', epsilon, unsharedIds });
  try {
    const rows = traces.map(({ id, promptTokens, tokens }) => ({ id, tokens: [...promptTokens, ...tokens] }));
    const numbers = await estimator.estimate(rows, { signal: context.signal });
    return traces.map(({ promptTokens }, index) => numbers[index].values.slice(promptTokens.length));
  } finally {
    estimator.dispose();
  }
}

/** What each token adds to the text. */
function piecesOf(tokenizer: Tokenizer, tokens: readonly number[]): string[] {
  let before = '';
  return tokens.map((_, index) => {
    const text = tokenizer.decode(tokens.slice(0, index + 1));
    const piece = text.slice(before.length);
    before = text;
    return piece;
  });
}
