/** What every runtime must do: run order, life times, memory, threads. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BackendError } from '../../support/errors.js';
import { errorLike } from './error-like.fixture.js';
import { accumulating, doubling, onnxModel, squaring } from './model.fixture.js';
import { SessionCache } from './session-cache.js';
import type { Runtime } from './types.js';

export function testLifeTimes(runtime: Runtime, open: (threads: number) => Runtime): void {
  test('runs happen one after the other in call order', async () => {
    const session = runtime.session(accumulating);
    const state = runtime.tensor('float32', [3], [1, 1, 1]);
    const double = runtime.session(
      onnxModel({ x: ['float32', [3]] }, { y: ['float32', [3], 'x'] }, [['Add', ['x', 'x'], ['y']]]),
    );
    const step = runtime.tensor('float32', [3], [1, 1, 1]);
    const add = session.bind({ state, step }, { next: state });
    const twice = double.bind({ x: state }, { y: state });
    const finished: string[] = [];
    const runs = [
      add.run().then(() => finished.push('add')),
      twice.run().then(() => finished.push('twice')),
      add.run().then(() => finished.push('add')),
    ];
    assert.throws(() => add.runSync(), errorLike(/3 run\(\) are pending/, BackendError));
    await Promise.all(runs);
    assert.deepEqual([...state.data], [5, 5, 5], '(1 + 1) · 2 + 1');
    assert.deepEqual(finished, ['add', 'twice', 'add']);
    for (const resource of [add, twice, session, double, state, step]) resource.dispose();
  });

  test('dispose may come twice; use after it throws and names the tensor', async () => {
    const session = runtime.session(doubling([2]));
    const [x, y] = [runtime.tensor('float32', [2]), runtime.tensor('float32', [2])];
    const binding = session.bind({ x }, { y });
    session.dispose();
    session.dispose();
    assert.throws(() => session.bind({ x }, { y }), errorLike(/after dispose/, BackendError));
    await binding.run();
    x.dispose();
    x.dispose();
    assert.throws(() => x.data, errorLike(/float32 \[2\].*after dispose/, BackendError));
    assert.throws(() => runtime.view(x, 0, [1]), BackendError);
    await assert.rejects(binding.run(), errorLike(/'x'.*disposed/, BackendError));
    assert.throws(() => binding.runSync(), errorLike(/'x'.*disposed/, BackendError));
    binding.dispose();
    binding.dispose();
    await assert.rejects(binding.run(), errorLike(/after dispose/, BackendError));
    y.dispose();
  });

  test('what is disposed of during a run is freed after it', async () => {
    const n = 300;
    const session = runtime.session(squaring(n, 4));
    const [x, y] = [runtime.tensor('float32', [n, n]), runtime.tensor('float32', [n, n])];
    for (let i = 0; i < n; i++) x.data[i * n + i] = 2;
    const binding = session.bind({ x }, { y });
    const runs = [binding.run(), binding.run()];
    const result = runs[1].then(() => y.data[0]);
    for (const resource of [x, binding, session]) resource.dispose();
    assert.equal(await result, 32);
    await Promise.all(runs);
    y.dispose();
  });

  test('an array that outlives its tensor can be read without a crash', () => {
    for (const size of [10, 1_000_000]) {
      const tensor = runtime.tensor('float32', [size]);
      const stale = tensor.data;
      stale.fill(1);
      tensor.dispose();
      assert.ok(stale[size - 1] !== 1);
    }
  });

  test('owned bytes count tensors, not views or adopted memory', () => {
    const before = runtime.ownedBytes;
    const tensor = runtime.tensor('int64', [4, 5]);
    const flags = runtime.tensor('bool', [7]);
    runtime.view(tensor, 0, [2]);
    runtime.adopt('float32', [2], new Float32Array(2));
    assert.equal(runtime.ownedBytes - before, 4 * 5 * 8 + 7);
    tensor.dispose();
    tensor.dispose();
    assert.equal(runtime.ownedBytes - before, 7);
    flags.dispose();
    assert.equal(runtime.ownedBytes, before);
  });

  test('values of a late tensor are made once, when first asked for, and take memory from then on', () => {
    const before = runtime.ownedBytes;
    let numReads = 0;
    const late = runtime.lazy([3], (into) => {
      numReads += 1;
      into.set([1, 2, 3]);
    });
    assert.equal(runtime.ownedBytes, before);
    const copy = new Float32Array(3);
    late.read?.(copy);
    assert.deepEqual([...copy, runtime.ownedBytes - before, numReads], [1, 2, 3, 0, 1]);
    const y = runtime.tensor('float32', [3]);
    const session = runtime.session(doubling([3]));
    const binding = session.bind({ x: late }, { y });
    binding.runSync();
    assert.deepEqual([...y.data], [2, 4, 6]);
    assert.deepEqual([...late.data, numReads, late.read], [1, 2, 3, 2, undefined]);
    assert.equal(runtime.ownedBytes - before, 24);
    for (const each of [binding, session, late, y]) each.dispose();
    assert.equal(runtime.ownedBytes, before);
  });

  test('memory that cannot be had is an error that names the bytes', () => {
    const before = runtime.ownedBytes;
    assert.throws(() => runtime.tensor('float32', [2 ** 50]), errorLike(/4503599627370496 bytes/, BackendError));
    assert.equal(runtime.ownedBytes, before);
  });

  test('resident memory is flat over 1000 runs, rebindings and allocations', async () => {
    const model = squaring(64, 8);
    const session = runtime.session(model);
    const cycle = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) {
        const [x, y] = [runtime.tensor('float32', [64, 64]), runtime.tensor('float32', [64, 64])];
        const large = runtime.tensor('float32', [100_000]);
        large.data.fill(1);
        const binding = session.bind({ x }, { y });
        if (i % 2 === 0) await binding.run();
        else binding.runSync();
        for (const resource of [binding, x, y, large]) resource.dispose();
      }
    };
    await cycle(200);
    const before = process.memoryUsage.rss();
    await cycle(1000);
    const grownMb = (process.memoryUsage.rss() - before) / 2 ** 20;
    // Unfreed, the large tensors alone would be 400 MB; the stock binding waits for the garbage collector.
    assert.ok(grownMb < 100, `grew by ${grownMb.toFixed(1)} MB`);
    session.dispose();
  });

  test('a disposed runtime frees everything and refuses new work', async () => {
    const other = open(1);
    const [x, y] = [other.tensor('float32', [2], [1, 2]), other.tensor('float32', [2])];
    const session = other.session(doubling([2]));
    const binding = session.bind({ x }, { y });
    const run = binding.run();
    other.dispose();
    other.dispose();
    await run;
    assert.equal(other.ownedBytes, 0);
    assert.throws(() => other.tensor('float32', [1]), BackendError);
    assert.throws(() => other.session(doubling([2])), BackendError);
    assert.throws(() => x.data, BackendError);
    await assert.rejects(binding.run(), BackendError);
    binding.dispose();
    session.dispose();
    x.dispose();
  });

  test('a session cache keeps the sessions used last, and evicted ones keep their bindings', async () => {
    let numCompiled = 0;
    const cache = new SessionCache(runtime, 2);
    const get = (size: number) =>
      cache.get(`double ${size}`, () => {
        numCompiled += 1;
        return doubling([size]);
      });
    const [x, y] = [runtime.tensor('float32', [1], [3]), runtime.tensor('float32', [1])];
    const first = get(1);
    const binding = first.bind({ x }, { y });
    get(2);
    assert.equal(get(1), first);
    get(3);
    assert.equal(get(1), first, 'used more recently than 2');
    assert.deepEqual([numCompiled, cache.size], [3, 2]);
    get(2);
    get(3);
    assert.equal(numCompiled, 5, '2 and then 3 had been evicted');
    assert.throws(() => first.bind({ x }, { y }), BackendError);
    await binding.run();
    assert.equal(y.data[0], 6);
    cache.dispose();
    assert.equal(cache.size, 0);
    for (const resource of [binding, x, y]) resource.dispose();
  });
}

/** Every other runtime of the process must be closed. */
export function testThreads(open: (threads: number) => Runtime): void {
  test('1 and 2 threads agree', async () => {
    const results: number[][] = [];
    for (const threads of [1, 2]) {
      const runtime = open(threads);
      assert.equal(runtime.numThreads, threads);
      const n = 200;
      const x = runtime.tensor(
        'float32',
        [n, n],
        Float32Array.from({ length: n * n }, (_, i) => Math.sin(i * i) / 8),
      );
      const y = runtime.tensor('float32', [n, n]);
      const session = runtime.session(squaring(n, 3));
      await session.bind({ x }, { y }).run();
      results.push([...y.data]);
      runtime.dispose();
    }
    const largest = Math.max(...results[0].map(Math.abs));
    const difference = Math.max(...results[0].map((value, i) => Math.abs(value - results[1][i])));
    assert.ok(largest > 0.1, 'the comparison sees something');
    // Threads split rows and columns, not sums; 1e-6 is a few roundings of float32.
    assert.ok(difference <= 1e-6 * largest, `${difference} of ${largest}`);
  });
}

/** Starts a run of about `durationMs` and reports how many 5 ms timers fired before it was over. */
export async function timersDuringRun(runtime: Runtime, durationMs: number): Promise<number> {
  const n = 512;
  const x = runtime.tensor('float32', [n, n]);
  const y = runtime.tensor('float32', [n, n]);
  const binding = runtime.session(squaring(n, 10)).bind({ x }, { y });
  const start = performance.now();
  binding.runSync();
  const repeats = Math.ceil(durationMs / (performance.now() - start));
  const long = runtime.session(squaring(n, 10 * repeats)).bind({ x }, { y });
  let isOver = false;
  const run = long.run().then(() => {
    isOver = true;
  });
  let numTimers = 0;
  while (!isOver) {
    await sleep(5);
    if (!isOver) numTimers += 1;
  }
  await run;
  return numTimers;
}
