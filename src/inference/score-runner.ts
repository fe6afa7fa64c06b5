/** The device side of scoring: bound graphs for rows taken whole and for rows that go through a cache chunk by chunk. */
import type { Binding, Tensor, TensorMap } from '../engine/runtime/types.js';
import { type LanguageModel, modelTensors } from '../model/language-model.js';
import { cacheLayout, createKvCache } from './kv-cache.js';
import { buildChunkScoreGraph, buildScoreGraph } from './score-graph.js';

/** Scores of one row; the first token has none. */
export interface RowScores {
  readonly logprobs: (number | null)[];
  readonly top: (readonly (readonly [id: number, logprob: number])[] | null)[];
}

export const noScores = (): RowScores => ({ logprobs: [null], top: [null] });

/** A bound graph with its feeds and results for B rows of T positions. */
export interface BoundScores {
  readonly time: number;
  /** Writes tokens from `start` of a sequence, with their targets and positions, to row `row`. */
  feed(row: number, tokens: readonly number[], start: number): void;
  run(): Promise<void>;
  /** Appends the scores of the first `count` positions of a row. */
  collect(row: number, count: number, into: RowScores): void;
  dispose(): void;
}

/** Rows whose whole attention matrix is made; padding on the right is harmless. */
export function bindWholeRows(
  model: LanguageModel,
  { batch, time, topK }: { batch: number; time: number; topK: number },
): BoundScores {
  const { compiler, config, lora, architectureKey } = model;
  // In bfloat16 rows are scored by the kernels that sample: the same bits.
  if (cacheLayout(config, compiler.precision).dtype === 'bfloat16')
    return bindFirstChunks(model, { batch, time, topK });
  return bindFeeds(model, { batch, time, topK }, (tensors) =>
    compiler.bind(
      `score/${architectureKey}/${batch}/${time}/${topK}`,
      (g) => buildScoreGraph(g, config, { batch, time, topK }, lora),
      { ...modelTensors(model, time), ...tensors },
      { constantWeights: true },
    ),
  );
}

/** The same through a cache that is used for nothing else. */
function bindFirstChunks(
  model: LanguageModel,
  { batch, time, topK }: { batch: number; time: number; topK: number },
): BoundScores {
  const { compiler, config, lora, architectureKey } = model;
  const { runtime, precision } = compiler;
  const cache = createKvCache(runtime, cacheLayout(config, precision), Number.POSITIVE_INFINITY);
  cache.ensure({ slots: batch, capacity: time }, []);
  const { capacity } = cache.size;
  const lengths = runtime.tensor('int32', [batch]);
  const total = runtime.tensor('int32', [1]);
  lengths.data.fill(time);
  total.data[0] = time;
  const bound = bindFeeds(model, { batch, time, topK }, (tensors) =>
    compiler.bind(
      `score/${architectureKey}/cached/${batch}/${time}/${capacity}/${topK}`,
      (g) => buildChunkScoreGraph(g, config, { batch, time, capacity, firstChunk: true, topK, precision }, lora),
      { ...modelTensors(model, capacity), ...cache.views(0, batch), ...tensors, lengths, total },
      { constantWeights: true },
    ),
  );
  return {
    ...bound,
    dispose() {
      bound.dispose();
      for (const resource of [cache, lengths, total]) resource.dispose();
    },
  };
}

export interface ChunkScores {
  /** Feeds, runs and collects the tokens start … start + T − 1; `start` is a multiple of T and comes after all before it. */
  score(tokens: readonly number[], start: number, into: RowScores): Promise<void>;
  dispose(): void;
}

/** One row against a cache of `capacity` tokens: no T × T matrix. */
export function bindChunks(
  model: LanguageModel,
  { time, capacity, topK }: { time: number; capacity: number; topK: number },
): ChunkScores {
  const { compiler, config, lora, architectureKey } = model;
  const { runtime } = compiler;
  const cache = createKvCache(runtime, cacheLayout(config, compiler.precision), Number.POSITIVE_INFINITY);
  cache.ensure({ slots: 1, capacity }, []);
  const lengths = runtime.tensor('int32', [1]);
  const total = runtime.tensor('int32', [1]);
  const bind = (firstChunk: boolean): BoundScores =>
    bindFeeds(model, { batch: 1, time, topK }, (tensors) =>
      compiler.bind(
        `score/${architectureKey}/chunk/${time}/${cache.size.capacity}/${firstChunk}/${topK}`,
        (g) =>
          buildChunkScoreGraph(
            g,
            config,
            { batch: 1, time, capacity: cache.size.capacity, firstChunk, topK, precision: compiler.precision },
            lora,
          ),
        { ...modelTensors(model, cache.size.capacity), ...cache.views(0, 1), ...tensors, lengths, total },
        { constantWeights: true },
      ),
    );
  const first = bind(true);
  const later = bind(false);
  return {
    async score(tokens, start, into) {
      const bound = start === 0 ? first : later;
      bound.feed(0, tokens, start);
      lengths.data[0] = start + time;
      total.data[0] = start + time;
      await bound.run();
      bound.collect(0, Math.min(time, tokens.length - 1 - start), into);
    },
    dispose() {
      first.dispose();
      later.dispose();
      lengths.dispose();
      total.dispose();
      cache.dispose();
    },
  };
}

function bindFeeds(
  { compiler: { runtime } }: LanguageModel,
  { batch, time, topK }: { batch: number; time: number; topK: number },
  bind: (tensors: TensorMap) => Binding,
): BoundScores {
  const count = batch * time;
  const owned: Tensor[] = [];
  const own = <T extends Tensor>(tensor: T): T => {
    owned.push(tensor);
    return tensor;
  };
  const tokens = own(runtime.tensor('int64', [count]));
  const targets = own(runtime.tensor('int64', [count]));
  const positions = own(runtime.tensor('int64', [batch, time]));
  const logprobs = own(runtime.tensor('float32', [count]));
  const top =
    topK === 0
      ? undefined
      : {
          topIds: own(runtime.tensor('int64', [count, topK])),
          topLogprobs: own(runtime.tensor('float32', [count, topK])),
        };
  const binding = bind({ tokens, targets, positions, logprobs, ...top });
  return {
    time,
    feed(row, source, start) {
      for (let index = 0; index < time; index++) {
        const at = row * time + index;
        tokens.data[at] = BigInt(source[start + index] ?? 0);
        targets.data[at] = BigInt(source[start + index + 1] ?? 0);
        positions.data[at] = BigInt(start + index);
      }
    },
    run: () => binding.run(),
    collect(row, numPositions, into) {
      for (let at = row * time; at < row * time + numPositions; at++) {
        into.logprobs.push(logprobs.data[at]);
        if (top === undefined) continue;
        const ranks = Array.from({ length: topK }, (_, rank) => at * topK + rank);
        into.top.push(ranks.map((index) => [Number(top.topIds.data[index]), top.topLogprobs.data[index]] as const));
      }
    },
    dispose() {
      binding.dispose();
      for (const tensor of owned) tensor.dispose();
    },
  };
}
