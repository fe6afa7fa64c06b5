/** The device side of decoding: the cache, and the bound sessions that extend it. It decides nothing. */
import type { Binding, Tensor } from '../engine/runtime/types.js';
import { type LanguageModel, modelTensors } from '../model/language-model.js';
import { buildDecodeGraph } from './decode-graph.js';
import { type CacheSize, createKvCache } from './kv-cache.js';
import { buildPrefillGraph } from './prefill-graph.js';
import { prefillLength, type Sequence, tokenAt } from './sequence.js';

/** Prompt tokens start … start + time − 1 of sequences that stand in consecutive slots (several only where start = 0). */
interface PrefillStep {
  readonly sequences: readonly Sequence[];
  readonly firstSlot: number;
  readonly start: number;
  /** Padded length of the chunk. */
  readonly time: number;
}

export interface StepRunner {
  /** Makes room in the cache; see `KvCache.ensure`. */
  ensure(need: CacheSize, used: readonly number[]): void;
  copy(from: number, to: number, count: number): void;
  prefill(step: PrefillStep): Promise<void>;
  /**
   * One token of every row: row r is slot r. Rows without a decoding sequence are padding, which writes behind what
   * `used[r]` tokens of the slot hold. The logits are in `logits(batch)`.
   */
  decode(batch: number, rows: readonly Sequence[], used: readonly number[]): Promise<void>;
  /** [batch, V], one memory for all batches. */
  logits(batch: number): Tensor<'float32'>;
  dispose(): void;
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
  { maxBatch, maxCacheBytes }: { maxBatch: number; maxCacheBytes: number },
): StepRunner {
  const { compiler, config, lora } = model;
  const { runtime } = compiler;
  const cache = createKvCache(runtime, config, maxCacheBytes);
  const logitsMemory = runtime.tensor('float32', [maxBatch, config.vocabSize]);
  const logitsOf = new Map<number, Tensor<'float32'>>();
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
  const sharedTensors = () => modelTensors(model, cache.size.capacity);

  const logits = (batch: number): Tensor<'float32'> => {
    const known = logitsOf.get(batch);
    if (known !== undefined) return known;
    const view = runtime.view(logitsMemory, 0, [batch, config.vocabSize]);
    logitsOf.set(batch, view);
    return view;
  };

  const bindDecode = (batch: number): Bound => {
    const known = decodes.get(batch);
    if (known !== undefined) return known;
    const { capacity } = cache.size;
    const feeds = createFeeds(batch, 1);
    const binding = compiler.bind(
      `decode/${model.architectureKey}/${batch}/${capacity}`,
      (g) => buildDecodeGraph(g, config, { batch, capacity }, lora),
      { ...sharedTensors(), ...cache.views(0, batch), ...feeds, logits: logits(batch) },
    );
    const bound = { ...feeds, binding };
    decodes.set(batch, bound);
    return bound;
  };

  const bindPrefill = (batch: number, { firstSlot, start, time }: PrefillStep): Bound => {
    const { capacity } = cache.size;
    const shape = { batch, time, capacity, firstChunk: start === 0 };
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
      `prefill/${model.architectureKey}/${name}`,
      (g) => buildPrefillGraph(g, config, shape, lora),
      { ...sharedTensors(), ...cache.views(firstSlot, batch), ...feeds },
    );
    const bound = { ...feeds, binding };
    prefills.set(key, bound);
    return bound;
  };

  return {
    ensure(need, used) {
      if (cache.ensure(need, used)) releaseAll();
    },
    copy: (from, to, count) => cache.copy(from, to, count),
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
    logits,
    dispose() {
      releaseAll();
      cache.dispose();
      logitsMemory.dispose();
      logitsOf.clear();
    },
  };
}
