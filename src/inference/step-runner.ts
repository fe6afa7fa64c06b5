/** The device side of decoding: the cache, and the bound sessions that extend it. It decides nothing. */
import { effectivePrecision } from '../engine/compiler.js';
import type { Precision } from '../engine/onnx/emitter.js';
import type { Binding, Tensor, TensorMap } from '../engine/runtime/types.js';
import { type LanguageModel, modelTensors } from '../model/language-model.js';
import { invariant } from '../support/errors.js';
import { buildDecodeGraph } from './decode-graph.js';
import { type CacheNeed, cacheLayout, createKvCache } from './kv-cache.js';
import { buildPrefillGraph } from './prefill-graph.js';
import { prefillLength, type Sequence, tokenAt } from './sequence.js';
import { buildTangentGraph, tangentName } from './tangent-graph.js';

/** Prompt tokens start … start + time − 1 of sequences that stand in consecutive slots (several only where start = 0). */
interface PrefillStep {
  readonly sequences: readonly Sequence[];
  readonly firstSlot: number;
  readonly start: number;
  /** Padded length of the chunk. */
  readonly time: number;
}

/** By name, each a row for each slot. */
export type StepResults = Readonly<Record<string, Tensor<'float32'>>>;

export interface StepRunner {
  /** Makes room in the cache; see `KvCache.ensure`. */
  ensure(need: CacheNeed, used: readonly number[]): void;
  copy(from: number, to: number, count: number): void;
  prefill(step: PrefillStep): Promise<void>;
  /**
   * One token of every row: row r is slot r. Rows without a decoding sequence are padding, which writes behind what
   * `used[r]` tokens of the slot hold. The results are in `results(batch)`.
   */
  decode(batch: number, rows: readonly Sequence[], used: readonly number[]): Promise<void>;
  /** What this runner computes for each token, one memory for all batches: logits [batch, V], or stream and tangent.stream [batch, C]. */
  results(batch: number): StepResults;
  dispose(): void;
}

export interface StepRunnerOptions {
  readonly maxBatch: number;
  readonly maxCacheBytes: number;
  /**
   * A direction in the space of the parameters, by their names: the runner then gives, instead of logits, the residual stream as it
   * leaves the layers and its derivative along the direction, and keeps a second cache for tangents.
   */
  readonly direction?: ReadonlyMap<string, Tensor<'float32'>> | undefined;
  /** Default: the compiler's. */
  readonly precision?: Precision | undefined;
}

/** What a runner computes in. */
export function runnerPrecision(
  { compiler }: LanguageModel,
  { precision = compiler.precision }: Pick<StepRunnerOptions, 'precision'>,
): Precision {
  return effectivePrecision(compiler.runtime, precision);
}

interface Feeds {
  readonly tokens: Tensor<'int64'>;
  readonly positions: Tensor<'int64'>;
  readonly lengths: Tensor<'int32'>;
  readonly total: Tensor<'int32'>;
}

interface Bound extends Feeds {
  readonly binding: Binding;
}

/** Prefill bindings kept: they differ by slot, so there is no end to them. */
const MAX_PREFILL_BINDINGS = 32;

export function createStepRunner(
  model: LanguageModel,
  { maxBatch, maxCacheBytes, direction, ...options }: StepRunnerOptions,
): StepRunner {
  const { compiler, config, lora } = model;
  const { runtime } = compiler;
  const isTangent = direction !== undefined;
  invariant(!isTangent || lora === undefined, 'directions are those of whole models: merge adapters first');
  const precision = runnerPrecision(model, options);
  const layout = cacheLayout(config, precision);
  const caches = Array.from({ length: isTangent ? 2 : 1 }, () =>
    createKvCache(runtime, layout, maxCacheBytes / (isTangent ? 2 : 1)),
  );
  const [cache, tangentCache] = caches;
  const resultMemory = new Map(
    (isTangent ? ['stream', tangentName('stream')] : ['logits']).map((name) => [
      name,
      runtime.tensor('float32', [maxBatch, isTangent ? config.hiddenSize : config.vocabSize]),
    ]),
  );
  const resultsOf = new Map<number, StepResults>();
  const kind = isTangent ? 'tangent' : 'logits';
  const tangents = prefixed(Object.fromEntries(direction ?? []));
  const decodes = new Map<number, Bound>();
  const prefills = new Map<string, Bound>();

  const createFeeds = (batch: number, time: number): Feeds => ({
    tokens: runtime.tensor('int64', [batch * time]),
    positions: runtime.tensor('int64', [batch, time]),
    lengths: runtime.tensor('int32', [batch]),
    total: runtime.tensor('int32', [1]),
  });
  const release = ({ binding, tokens, positions, lengths, total }: Bound): void => {
    binding.dispose();
    for (const tensor of [tokens, positions, lengths, total]) tensor.dispose();
  };
  const releaseAll = (): void => {
    for (const bound of [...decodes.values(), ...prefills.values()]) release(bound);
    decodes.clear();
    prefills.clear();
  };
  const sharedTensors = () => ({ ...modelTensors(model, cache.size.capacity), ...tangents });
  const cacheViews = (firstSlot: number, batch: number): TensorMap => ({
    ...cache.views(firstSlot, batch),
    ...prefixed(tangentCache?.views(firstSlot, batch) ?? {}),
  });

  const results = (batch: number): StepResults => {
    const known = resultsOf.get(batch);
    if (known !== undefined) return known;
    const views = Object.fromEntries(
      [...resultMemory].map(([name, memory]) => [name, runtime.view(memory, 0, [batch, memory.shape[1]])]),
    );
    resultsOf.set(batch, views);
    return views;
  };

  const bindDecode = (batch: number): Bound => {
    const known = decodes.get(batch);
    if (known !== undefined) return known;
    const { capacity } = cache.size;
    const feeds = createFeeds(batch, 1);
    const binding = compiler.bind(
      `decode/${kind}/${model.architectureKey}/${batch}/${capacity}`,
      (g) => {
        if (!isTangent) buildDecodeGraph(g, config, { batch, capacity, precision }, lora);
        else buildTangentGraph(g, config, { batch, time: 1, capacity, firstChunk: false, precision }, { isLast: true });
      },
      {
        ...sharedTensors(),
        ...cacheViews(0, batch),
        ...feeds,
        ...results(batch),
      },
      { precision, constantWeights: true },
    );
    const bound = { ...feeds, binding };
    decodes.set(batch, bound);
    return bound;
  };

  const bindPrefill = (batch: number, { firstSlot, start, time }: PrefillStep): Bound => {
    const { capacity } = cache.size;
    const shape = { batch, time, capacity, firstChunk: start === 0, precision };
    const name = `${batch}/${time}/${capacity}/${shape.firstChunk}`;
    const key = `${name}/${firstSlot}`;
    const known = prefills.get(key);
    if (known !== undefined) return known;
    const oldest = prefills.keys().next();
    if (prefills.size >= MAX_PREFILL_BINDINGS && !oldest.done) {
      release(prefills.get(oldest.value)!);
      prefills.delete(oldest.value);
    }
    const feeds = createFeeds(batch, time);
    const binding = compiler.bind(
      `prefill/${kind}/${model.architectureKey}/${name}`,
      (g) => {
        if (isTangent) buildTangentGraph(g, config, shape, { isLast: false });
        else buildPrefillGraph(g, config, shape, lora);
      },
      { ...sharedTensors(), ...cacheViews(firstSlot, batch), ...feeds },
      { precision, constantWeights: true },
    );
    const bound = { ...feeds, binding };
    prefills.set(key, bound);
    return bound;
  };

  return {
    ensure(need, used) {
      const moved = caches.map((each) => each.ensure(need, used));
      if (moved.includes(true)) releaseAll();
    },
    copy(from, to, count) {
      for (const each of caches) each.copy(from, to, count);
    },
    async prefill(step) {
      const { sequences, start, time } = step;
      const bound = bindPrefill(sequences.length, step);
      sequences.forEach((sequence, row) => {
        const count = Math.min(time, prefillLength(sequence) - start);
        for (let index = 0; index < time; index++) {
          const at = row * time + index;
          bound.tokens.data[at] = index < count ? BigInt(sequence.promptTokens[start + index]) : 0n;
          bound.positions.data[at] = BigInt(start + index);
        }
        bound.lengths.data[row] = start === 0 ? count : start + time;
      });
      bound.total.data[0] = start + time;
      await bound.binding.run();
    },
    async decode(batch, rows, used) {
      const bound = bindDecode(batch);
      let longest = 0;
      for (let row = 0; row < batch; row++) {
        const position = used[row] ?? 0;
        bound.tokens.data[row] = row < rows.length ? BigInt(tokenAt(rows[row], position)) : 0n;
        bound.positions.data[row] = BigInt(position);
        bound.lengths.data[row] = position + 1;
        longest = Math.max(longest, position + 1);
      }
      bound.total.data[0] = longest;
      await bound.binding.run();
    },
    results,
    dispose() {
      releaseAll();
      for (const each of caches) each.dispose();
      for (const memory of resultMemory.values()) memory.dispose();
      resultsOf.clear();
    },
  };
}

const prefixed = (tensors: TensorMap): TensorMap =>
  Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [tangentName(name), tensor]));
