/** How a cache of keys and values grows, and that it keeps what is in it. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { errorLike } from '../engine/runtime/error-like.fixture.js';
import { openRuntime } from '../engine/runtime/open.js';
import { ConfigError } from '../support/errors.js';
import { doubledTo } from './buckets.js';
import { type CacheLayout, createKvCache, type KvCache } from './kv-cache.js';

const runtime = openRuntime({ threads: 1 });
after(() => runtime.dispose());

const layout: CacheLayout = { numLayers: 2, numKvHeads: 2, dtype: 'float32', width: 4 };
const NO_LIMIT = Number.POSITIVE_INFINITY;

/** The capacity of a new cache. */
function capacityFor(capacity: number, longest?: number): number {
  const cache = createKvCache(runtime, layout, NO_LIMIT);
  cache.ensure({ slots: 1, capacity, longest }, []);
  const { size } = cache;
  cache.dispose();
  return size.capacity;
}

/** A number for each element of the first `count` tokens of a slot that no other has. */
function fill(cache: KvCache, slot: number, count: number): void {
  for (const [name, view] of Object.entries(cache.views(slot, 1))) {
    const head = cache.size.capacity * layout.width;
    for (let at = 0; at < view.data.length; at++) {
      if (at % head < count * layout.width) view.data[at] = mark(name, slot, Math.floor(at / head), at % head);
    }
  }
}

const mark = (name: string, slot: number, head: number, at: number): number =>
  (name.includes('K') ? 1 : 2) * 1e6 + (name.endsWith('1') ? 5e5 : 0) + slot * 1e5 + head * 5e4 + at;

function check(cache: KvCache, slot: number, count: number): void {
  for (const [name, view] of Object.entries(cache.views(slot, 1))) {
    const head = cache.size.capacity * layout.width;
    for (let index = 0; index < layout.numKvHeads; index++) {
      const data = view.data.subarray(index * head, index * head + count * layout.width);
      data.forEach((value, at) => {
        assert.equal(value, mark(name, slot, index, at));
      });
    }
  }
}

describe('a cache of keys and values', () => {
  test('takes no more than the longest slot may come to hold, and doubles where that is not known', () => {
    assert.equal(capacityFor(257), 512);
    assert.equal(capacityFor(257, 320), 320);
    assert.equal(capacityFor(257, 321), 384);
    assert.equal(capacityFor(257, 2000), 512);
    assert.equal(capacityFor(257, 100), 320); // a chunk padded beyond it
    assert.equal(capacityFor(1, 20), 128);
  });

  test('has few sizes: each is a graph to compile', () => {
    const sizes = new Set(Array.from({ length: 4096 }, (_, index) => capacityFor(1 + index, 1 + index)));
    assert.ok(sizes.size <= 1 + 4 * 5, [...sizes].join(' ')); // 128, and four in each of five octaves
  });

  test('holds every need in less than twice of it, and keeps what is there', () => {
    const need = fc.record({
      slots: fc.integer({ min: 1, max: 4 }),
      capacity: fc.integer({ min: 1, max: 700 }),
      longest: fc.option(fc.integer({ min: 1, max: 1500 }), { nil: undefined }),
    });
    fc.assert(
      fc.property(fc.array(need, { minLength: 2, maxLength: 5 }), (needs) => {
        const cache = createKvCache(runtime, layout, NO_LIMIT);
        let used: number[] = [];
        let most = 0;
        for (const each of needs) {
          cache.ensure(each, used);
          used.forEach((count, slot) => {
            check(cache, slot, count);
          });
          most = Math.max(most, each.capacity);
          assert.ok(cache.size.slots >= each.slots && cache.size.capacity >= each.capacity);
          assert.ok(cache.size.capacity <= doubledTo(most, 128));
          used = Array.from({ length: each.slots }, (_, slot) => Math.max(1, each.capacity - 7 * slot));
          used.forEach((count, slot) => {
            fill(cache, slot, count);
          });
        }
        cache.dispose();
      }),
      { numRuns: 60 },
    );
  });

  test('what fits when rounded to a power of two fits; what does not is refused', () => {
    const bytesPerToken = 2 * 2 * 2 * 4 * 4;
    const cache = createKvCache(runtime, layout, 512 * bytesPerToken);
    cache.ensure({ slots: 1, capacity: 300, longest: 310 }, []);
    assert.equal(cache.size.capacity, 320);
    cache.ensure({ slots: 1, capacity: 512, longest: 310 }, [300]);
    assert.equal(cache.size.capacity, 512);
    assert.throws(() => cache.ensure({ slots: 1, capacity: 513 }, [512]), errorLike(/1 × 1024 tokens/, ConfigError));
    cache.dispose();
  });
});
