/** Keys and values of past tokens: one row ("slot") a sequence, contiguous, so that the first B slots are a batch of B. */
import type { Runtime, Tensor, TensorMap } from '../engine/runtime/types.js';
import type { TransformerConfig } from '../model/config.js';
import { ConfigError, invariant } from '../support/errors.js';
import { batchBucket, doubledTo } from './buckets.js';

export interface CacheSize {
  readonly slots: number;
  /** Tokens a slot holds. */
  readonly capacity: number;
}

export interface KvCache {
  readonly size: CacheSize;
  /**
   * Makes room: slots rise to the next batch bucket, the capacity doubles; what is there beyond the need is given up only where
   * both would not fit. `used[slot]` tokens of each slot are kept. Returns whether the memory moved, which makes every view
   * unusable. Errors: ConfigError where the need does not fit.
   */
  ensure(need: CacheSize, used: readonly number[]): boolean;
  /** Copies the first `count` tokens of a slot to another. */
  copy(from: number, to: number, count: number): void;
  /** The tensors [batch, K, S, D] of consecutive slots, as `cache.K.l` and `cache.V.l`. */
  views(firstSlot: number, batch: number): TensorMap;
  dispose(): void;
}

const FIRST_CAPACITY = 128;
const BYTES_PER_FLOAT = 4;

/** Bytes of keys and values of one token: 2 · L · K · D floats. */
export function cacheBytesPerToken(config: TransformerConfig): number {
  return 2 * config.numLayers * config.numKvHeads * config.headSize * BYTES_PER_FLOAT;
}

/** The size a cache takes to hold `need`. */
function roundedSize(need: CacheSize): CacheSize {
  return { slots: batchBucket(need.slots), capacity: doubledTo(need.capacity, FIRST_CAPACITY) };
}

const cacheBytes = (config: TransformerConfig, { slots, capacity }: CacheSize): number =>
  slots * capacity * cacheBytesPerToken(config);

/** Whether a cache that holds `need` takes at most `maxBytes`. */
export function cacheFits(config: TransformerConfig, need: CacheSize, maxBytes: number): boolean {
  return cacheBytes(config, roundedSize(need)) <= maxBytes;
}

/** Throws ConfigError if a cache that holds `need` takes more than `maxBytes`. */
export function checkCacheFits(config: TransformerConfig, need: CacheSize, maxBytes: number): void {
  if (cacheFits(config, need, maxBytes)) return;
  const size = roundedSize(need);
  const gib = (count: number) => `${(count / 2 ** 30).toFixed(2)} GiB`;
  throw new ConfigError(
    `The key/value cache of ${size.slots} × ${size.capacity} tokens needs ${gib(cacheBytes(config, size))}, but ` +
      `${gib(maxBytes)} may be used. Generate fewer tokens, shorten the prompt or allow the cache more memory.`,
  );
}

export const cacheNames = (layer: number) => ({ keys: `cache.K.${layer}`, values: `cache.V.${layer}` });

export function createKvCache(runtime: Runtime, config: TransformerConfig, maxBytes: number): KvCache {
  const { numLayers, numKvHeads, headSize } = config;
  const names = Array.from({ length: numLayers }, (_, layer) => Object.values(cacheNames(layer))).flat();
  let tensors = new Map<string, Tensor<'float32'>>();
  let size: CacheSize = { slots: 0, capacity: 0 };
  /** First element of a head of a slot. */
  const offset = ({ capacity }: CacheSize, slot: number, head: number) =>
    (slot * numKvHeads + head) * capacity * headSize;

  const moveInto = (target: Float32Array, source: Float32Array, next: CacheSize, used: readonly number[]): void => {
    for (let slot = 0; slot < Math.min(size.slots, next.slots, used.length); slot++) {
      const count = Math.min(used[slot], size.capacity) * headSize;
      for (let head = 0; head < numKvHeads; head++) {
        const start = offset(size, slot, head);
        target.set(source.subarray(start, start + count), offset(next, slot, head));
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
      };
      checkCacheFits(config, need, maxBytes);
      const next = roundedSize(cacheFits(config, both, maxBytes) ? both : need);
      const grown = new Map<string, Tensor<'float32'>>();
      for (const name of names) {
        const tensor = runtime.tensor('float32', [next.slots, numKvHeads, next.capacity, headSize]);
        grown.set(name, tensor);
        const old = tensors.get(name);
        if (old === undefined) continue;
        moveInto(tensor.data, old.data, next, used);
        old.dispose(); // at once: the old and the new cache never stand side by side
      }
      tensors = grown;
      size = next;
      return true;
    },
    copy(from, to, count) {
      invariant(count <= size.capacity, `cannot copy ${count} of ${size.capacity} cached tokens`);
      for (const { data } of tensors.values()) {
        for (let head = 0; head < numKvHeads; head++) {
          const start = offset(size, from, head);
          data.copyWithin(offset(size, to, head), start, start + count * headSize);
        }
      }
    },
    views(firstSlot, batch) {
      const shape = [batch, numKvHeads, size.capacity, headSize];
      const start = offset(size, firstSlot, 0);
      return Object.fromEntries([...tensors].map(([name, tensor]) => [name, runtime.view(tensor, start, shape)]));
    },
    dispose() {
      for (const tensor of tensors.values()) tensor.dispose();
      tensors.clear();
      size = { slots: 0, capacity: 0 };
    },
  };
}
