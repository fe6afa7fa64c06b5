import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { BackendError } from '../../support/errors.js';
import { testRuntime } from './conformance.fixture.js';
import { timersDuringRun } from './conformance-life.fixture.js';
import { doubling } from './model.fixture.js';
import { openRuntime } from './open.js';

const open = (threads: number) => openRuntime({ threads, kind: 'c-api' });

testRuntime('c-api', open);

test('the event loop stays free during a run of the C API', async () => {
  const runtime = open(1);
  const numTimers = await timersDuringRun(runtime, 200);
  assert.ok(numTimers >= 3, `${numTimers} timers of 5 ms fired during 200 ms`);
  runtime.dispose();
});

test('runtimes of one process share the threads, so another number of threads is refused', () => {
  const [first, second] = [open(1), open(1)];
  const refusal = (error: unknown) => error instanceof BackendError && /1 threads is open/.test(error.message);
  assert.throws(() => open(2), refusal);
  assert.throws(() => openRuntime({ threads: 2 }), refusal, 'and there is no silent fallback');
  first.dispose();
  assert.throws(() => open(2), refusal);
  second.dispose();
  open(2).dispose();
});

test('all sessions share one pool: two threads are one beside the caller, and none is left after dispose', {
  skip: process.platform !== 'linux' && 'needs /proc',
}, () => {
  const numTasks = () => readdirSync('/proc/self/task').length;
  const before = numTasks();
  const runtime = open(2);
  for (const size of [1, 2, 3]) runtime.session(doubling([size]));
  assert.equal(numTasks() - before, 1);
  runtime.dispose();
  assert.equal(numTasks(), before);
});
