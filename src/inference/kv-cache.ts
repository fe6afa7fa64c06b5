/** Keys and values of past tokens: one row ("slot") a sequence, contiguous, so that the first B slots are a batch of B. */
import type { Precision } from '../engine/onnx/emitter.js';
import type { Runtime, Tensor, TensorMap } from '../engine/runtime/types.js';
import type { TransformerConfig } from '../model/config.js';
import { ConfigError, invariant } from '../support/errors.js';
import { batchBucket, doubledTo, eighthsTo } from './buckets.js';

export interface CacheSize {
  readonly slots: number;
  /** Tokens a slot holds. */
  readonly capacity: number;
}

export interface CacheNeed extends CacheSize {
  /** Tokens that the longest slot may come to hold, where that is known. */
  readonly longest?: number | undefined;
}

export interface KvCache {
  readonly size: CacheSize;
  /**
   * Makes room: slots rise to the next batch bucket, the capacity doubles, or rises to what the longest slot may come to hold where that
   * is less; what is there beyond the need is given up only where both would not fit. `used[slot]` tokens of each slot are kept. Returns whether the memory moved, which makes every view
   * unusable. Errors: ConfigError where the need does not fit.
   */
  ensure(need: CacheNeed, used: readonly number[]): boolean;
  /** Copies the first `count` tokens of a slot to another. */
  copy(from: number, to: number, count: number): void;
  /** The tensors [batch, K, S, W] of consecutive slots, as `cache.K.l` and `cache.V.l`. */
  views(firstSlot: number, batch: number): TensorMap;
  dispose(): void;
}

/** How a model's keys and values are kept. */
export interface CacheLayout {
  readonly numLayers: number;
  readonly numKvHeads: number;
  readonly dtype: 'float32' | 'bfloat16';
  /** Numbers that a head takes: D, or in bfloat16 (whose order is the kernels' own) D rounded up to 32. */
  readonly width: number;
}

const FIRST_CAPACITY = 128;
const BYTES = { float32: 4, bfloat16: 2 } as const;
/** Tokens that the order of a bfloat16 cache keeps together. */
const HALF_BLOCK = 32;
/** What the kernels take; wider heads or groups stay in float32. */
const MAX_HALF_WIDTH = 512;
const MAX_HALF_GROUP = 16;

/** The layout that goes with a precision. */
export function cacheLayout(config: TransformerConfig, precision: Precision): CacheLayout {
  const { numLayers, numHeads, numKvHeads, headSize } = config;
  const halfWidth = Math.ceil(headSize / 32) * 32;
  const isHalf = precision === 'bfloat16' && halfWidth <= MAX_HALF_WIDTH && numHeads / numKvHeads <= MAX_HALF_GROUP;
  return isHalf
    ? { numLayers, numKvHeads, dtype: 'bfloat16', width: halfWidth }
    : { numLayers, numKvHeads, dtype: 'float32', width: headSize };
}

/** Bytes of keys and values of one token: 2 · L · K · W numbers. */
export function cacheBytesPerToken({ numLayers, numKvHeads, width, dtype }: CacheLayout): number {
  return 2 * numLayers * numKvHeads * width * BYTES[dtype];
}

/** The size a cache takes to hold `need`, with room to grow. At most that of a need of `longest` tokens, or of one whose `longest` is unknown. */
function roundedSize({ slots, capacity, longest = Number.POSITIVE_INFINITY }: CacheNeed): CacheSize {
  const doubled = doubledTo(capacity, FIRST_CAPACITY);
  const enough = Math.max(FIRST_CAPACITY, eighthsTo(Math.max(capacity, Math.min(longest, doubled))));
  return { slots: batchBucket(slots), capacity: Math.min(doubled, enough) };
}

const cacheBytes = (layout: CacheLayout, { slots, capacity }: CacheSize): number =>
  slots * capacity * cacheBytesPerToken(layout);

/** Whether a cache that holds `need` takes at most `maxBytes`. */
export function cacheFits(layout: CacheLayout, need: CacheSize, maxBytes: number): boolean {
  return cacheBytes(layout, roundedSize(need)) <= maxBytes;
}

/** Throws ConfigError if a cache that holds `need` takes more than `maxBytes`. */
export function checkCacheFits(layout: CacheLayout, need: CacheSize, maxBytes: number): void {
  if (cacheFits(layout, need, maxBytes)) return;
  const size = roundedSize(need);
  const gib = (count: number) => `${(count / 2 ** 30).toFixed(2)} GiB`;
  throw new ConfigError(
    `The key/value cache of ${size.slots} × ${size.capacity} tokens needs ${gib(cacheBytes(layout, size))}, but ` +
      `${gib(maxBytes)} may be used. Generate fewer tokens, shorten the prompt or allow the cache more memory.`,
  );
}

type Numbers = Float32Array | Uint16Array;

export const cacheNames = (layer: number) => ({ keys: `cache.K.${layer}`, values: `cache.V.${layer}` });

export function createKvCache(runtime: Runtime, layout: CacheLayout, maxBytes: number): KvCache {
  const { numLayers, numKvHeads, width, dtype } = layout;
  type CacheTensor = Tensor<typeof dtype>;
  /** [2, slots, K, S, W] a layer, keys then values: the larger a block, the more of it lies in large pages. */
  let layers: CacheTensor[] = [];
  let size: CacheSize = { slots: 0, capacity: 0 };
  /** Numbers of a head that hold its first `count` tokens: whole blocks in bfloat16. */
  const stored = (count: number) => (dtype === 'float32' ? count : Math.ceil(count / HALF_BLOCK) * HALF_BLOCK) * width;
  /** First element of a head of a slot: 0 of its keys, 1 of its values. */
  const offset = ({ slots, capacity }: CacheSize, half: number, slot: number, head: number) =>
    ((half * slots + slot) * numKvHeads + head) * capacity * width;

  const moveInto = (target: Numbers, source: Numbers, next: CacheSize, used: readonly number[]): void => {
    for (let slot = 0; slot < Math.min(size.slots, next.slots, used.length); slot++) {
      const count = stored(Math.min(used[slot], size.capacity));
      for (const half of [0, 1]) {
        for (let head = 0; head < numKvHeads; head++) {
          const start = offset(size, half, slot, head);
          target.set(source.subarray(start, start + count), offset(next, half, slot, head));
        }
      }
    }
  };

  return {
    get size() {
      return size;
    },
    ensure(need, used) {
      const isEnough = need.slots <= size.slots && need.capacity <= size.capacity;
      if (isEnough) return false;
      const both = {
        slots: Math.max(need.slots, size.slots),
        capacity: Math.max(need.capacity, size.capacity),
        longest: need.longest,
      };
      checkCacheFits(layout, need, maxBytes);
      const next = roundedSize(cacheFits(layout, both, maxBytes) ? both : need);
      const old = layers;
      layers = Array.from({ length: numLayers }, (_, layer) => {
        const tensor = runtime.tensor(dtype, [2, next.slots, numKvHeads, next.capacity, width]);
        if (old.length === 0) return tensor;
        moveInto(tensor.data, old[layer].data, next, used);
        old[layer].dispose(); // at once: the old and the new cache never stand side by side
        return tensor;
      });
      size = next;
      return true;
    },
    copy(from, to, count) {
      invariant(count <= size.capacity, `cannot copy ${count} of ${size.capacity} cached tokens`);
      for (const { data } of layers) {
        for (const half of [0, 1]) {
          for (let head = 0; head < numKvHeads; head++) {
            const start = offset(size, half, from, head);
            data.copyWithin(offset(size, half, to, head), start, start + stored(count));
          }
        }
      }
    },
    views(firstSlot, batch) {
      const shape = [batch, numKvHeads, size.capacity, width];
      const view = (layer: CacheTensor, half: number) => runtime.view(layer, offset(size, half, firstSlot, 0), shape);
      return Object.fromEntries(
        layers.flatMap((layer, index) => {
          const { keys, values } = cacheNames(index);
          return [[keys, view(layer, 0)] as const, [values, view(layer, 1)] as const];
        }),
      );
    },
    dispose() {
      for (const tensor of layers) tensor.dispose();
      layers = [];
      size = { slots: 0, capacity: 0 };
    },
  };
}
