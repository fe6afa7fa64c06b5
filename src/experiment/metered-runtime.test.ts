import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CompiledModel, Runtime } from '../engine/runtime/types.js';
import { meterRuntime } from './metered-runtime.js';

/** A runtime with a clock that only its runs, of 10 ms each, and `pass` move on. */
function setUp(run: () => Promise<void> = async () => {}) {
  let clockMs = 0;
  const pass = (ms: number) => {
    clockMs += ms;
  };
  const binding = {
    async run() {
      pass(10);
      await run();
    },
    runSync: () => pass(10),
    dispose: () => {},
  };
  const runtime = {
    version: '1',
    get ownedBytes() {
      return 42;
    },
    session: () => ({ bind: () => binding, dispose: () => {} }),
  } as unknown as Runtime;
  const metered = meterRuntime(runtime, () => clockMs);
  return { ...metered, pass, binding: metered.runtime.session({} as CompiledModel).bind({}, {}) };
}

test('the time of runs is counted, and no other', async () => {
  const { binding, engineMs, pass } = setUp();
  pass(5);
  await binding.run();
  pass(7);
  binding.runSync();
  pass(3);
  assert.equal(engineMs(), 20);
});

test('time in which several runs are awaited is counted once', async () => {
  const waiting: (() => void)[] = [];
  const { binding, engineMs, pass } = setUp(() => new Promise((resolve) => void waiting.push(resolve)));
  const runs = [binding.run(), binding.run()];
  pass(30);
  for (const resolve of waiting) resolve();
  await Promise.all(runs);
  pass(100);
  assert.equal(engineMs(), 50);
});

test('a run that fails ends its time too, and all else is the runtime’s own', async () => {
  const { binding, engineMs, pass, runtime } = setUp(() => Promise.reject(new Error('broken')));
  await assert.rejects(binding.run(), /broken/);
  pass(100);
  assert.equal(engineMs(), 10);
  assert.deepEqual([runtime.version, runtime.ownedBytes], ['1', 42]);
});
