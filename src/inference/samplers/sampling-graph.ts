/** From logits to ids: the graph. */
import type { GraphBuilder } from '../../engine/graph/builder.js';
import {
  add,
  argMax,
  cast,
  cumulativeSum,
  gatherElements,
  lessOrEqual,
  logSoftmax,
  multiply,
  reduceSum,
  reshape,
  slice,
  softmax,
} from '../../engine/graph/ops.js';
import type { Value } from '../../engine/graph/types.js';
import { EXCLUDED, type LogitsProcessor } from './processor.js';

export interface SamplingStage {
  readonly processor: LogitsProcessor;
  readonly size: number;
}

export interface SamplingShape {
  readonly batch: number;
  readonly vocabSize: number;
  /** In the order they act. */
  readonly stages: readonly SamplingStage[];
  /** Every row takes the likeliest token: no random numbers. */
  readonly greedy: boolean;
  /** Ids that name no token, if any. */
  readonly unnamed: readonly number[];
}

/** The greatest float32 below 1: with it, u·(the total mass) stays below the total mass. */
export const LARGEST_UNIFORM = 1 - 2 ** -24;

/**
 * Inputs: logits [B, V], the processors' columns (`processor.column`) and, unless greedy, uniforms [B, 1]. Outputs: the
 * processors' checks and statistics [B, 1], ids [B] int64 and logprobs [B, 1], the log-probability of each id under the model's own distribution (the unprocessed logits).
 */
export function buildSamplingGraph(
  g: GraphBuilder,
  { batch, vocabSize, stages, greedy, unnamed }: SamplingShape,
): void {
  const raw = g.input('logits', 'float32', [batch, vocabSize]);
  let logits =
    unnamed.length === 0 ? raw : add(g, raw, g.constant('float32', [1, vocabSize], maskOf(unnamed, vocabSize)));
  const statistics = new Map<string, Value>();
  let isCut = unnamed.length > 0;
  for (const { processor, size } of stages) {
    const shape = { batch, vocabSize, size };
    const columns = Object.fromEntries(
      Object.entries(processor.columns(shape)).map(([name, type]) => [
        name,
        g.input(`${processor.name}.${name}`, type.dtype, type.shape),
      ]),
    );
    const built = processor.build(g, logits, { columns, shape, isCut });
    isCut ||= processor.excludes === true;
    logits = built.logits;
    if (built.check !== undefined) g.output(`${processor.name}.check`, built.check);
    for (const name of processor.statistics ?? []) statistics.set(name, built.statistics![name]);
  }
  const ids = greedy ? argMax(g, logits) : inverseCdf(g, logits, g.input('uniforms', 'float32', [batch, 1]));
  g.output('ids', ids);
  const drawn = reshape(g, ids, [batch, 1]);
  g.output('logprobs', gatherElements(g, logSoftmax(g, raw), drawn));
  for (const [name, value] of statistics) {
    const isOfTokens = value.shape[1] === vocabSize && vocabSize > 1;
    g.output(`statistics.${name}`, isOfTokens ? gatherElements(g, value, drawn) : value);
  }
}

/** The first v whose cumulative probability exceeds u (of the total, which rounding keeps from being 1): the number of those that do not. */
function inverseCdf(g: GraphBuilder, logits: Value, uniforms: Value): Value {
  const [batch, vocabSize] = logits.shape;
  const cumulative = cumulativeSum(g, softmax(g, logits)); // [B, V]
  const total = slice(g, cumulative, { axis: 1, start: vocabSize - 1, end: vocabSize });
  const passed = lessOrEqual(g, cumulative, multiply(g, uniforms, total));
  const count = reduceSum(g, cast(g, passed, 'float32'), [1]); // exact: V < 2^24
  return cast(g, reshape(g, count, [batch]), 'int64');
}

function maskOf(unnamed: readonly number[], vocabSize: number): Float32Array {
  const mask = new Float32Array(vocabSize);
  for (const id of unnamed) mask[id] = EXCLUDED;
  return mask;
}
