import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultWorkers } from './workers.js';

const GIB = 2 ** 30;
const workersOf = (
  config: Parameters<typeof defaultWorkers>[0],
  machine: Partial<Parameters<typeof defaultWorkers>[1]>,
) => {
  const { numWorkers, threads } = defaultWorkers(config, { freeBytes: 10 * GIB, numCores: 8, ...machine });
  return [numWorkers, threads];
};

test('one worker of one thread for each core, as long as the memory holds them; cores are divided among fewer', () => {
  assert.deepEqual(workersOf({}, {}), [8, 1]);
  assert.deepEqual(workersOf({}, { peakBytes: 1 * GIB }), [8, 1]);
  assert.deepEqual(workersOf({}, { peakBytes: 2.25 * GIB }), [4, 2]); // 9 GiB may be planned with
  assert.deepEqual(workersOf({}, { peakBytes: 50 * GIB }), [1, 8]);
  assert.deepEqual(workersOf({ memoryGiB: 2 }, { peakBytes: 1 * GIB }), [2, 4]);
});

test('what the configuration says goes before', () => {
  assert.deepEqual(workersOf({ workers: 3, threads: 2 }, { peakBytes: 50 * GIB }), [3, 2]);
  assert.deepEqual(workersOf({ threads: 4 }, {}), [2, 4]);
  assert.deepEqual(workersOf({ workers: 2 }, {}), [2, 4]);
});
