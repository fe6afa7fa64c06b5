/** What every runtime must do: values, shapes, and what does not fit. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BackendError, ShapeError } from '../../support/errors.js';
import type { Dtype } from '../graph/types.js';
import { errorLike } from './error-like.fixture.js';
import { accumulating, doubling, identity, onnxModel } from './model.fixture.js';
import type { Binding, CompiledModel, Runtime, Tensor } from './types.js';

export function testValues(runtime: Runtime, open: (threads: number) => Runtime): void {
  const bindOnce = (model: CompiledModel, x: Tensor, y: Tensor): Binding => {
    const session = runtime.session(model);
    const binding = session.bind({ x }, { y });
    session.dispose();
    return binding;
  };
  const runOnce = (model: CompiledModel, x: Tensor, y: Tensor): void => {
    const binding = bindOnce(model, x, y);
    binding.runSync();
    binding.dispose();
  };

  test('values of every element type pass through a graph unchanged', () => {
    const cases: [Dtype, ArrayLike<number> | BigInt64Array][] = [
      ['float32', [0.5, -1e-38, 3e38, Number.NEGATIVE_INFINITY]],
      ['int32', [-(2 ** 31), 2 ** 31 - 1, 0, 7]],
      ['int64', BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n, 0n, -1n)],
      ['bool', [0, 1, 1, 0]],
    ];
    for (const [dtype, values] of cases) {
      const x = runtime.tensor(dtype, [2, 2], values);
      const y = runtime.tensor(dtype, [2, 2]);
      runOnce(identity(dtype, [2, 2]), x, y);
      assert.deepEqual([...y.data], [...x.data], dtype);
      x.dispose();
      y.dispose();
    }
  });

  test('numbers given for int64 become big integers', () => {
    const tensor = runtime.tensor('int64', [2], [3, -4]);
    assert.deepEqual([...tensor.data], [3n, -4n]);
    tensor.dispose();
  });

  test('a scalar has one element and an empty tensor none, and graphs take both', () => {
    const scalar = runtime.tensor('float32', [], [4]);
    const result = runtime.tensor('float32', []);
    runOnce(doubling([]), scalar, result);
    assert.deepEqual([...result.data], [8]);
    const [empty, emptyResult] = [runtime.tensor('float32', [0, 3]), runtime.tensor('float32', [0, 3])];
    runOnce(doubling([0, 3]), empty, emptyResult);
    assert.equal(emptyResult.data.length, 0);
    for (const tensor of [scalar, result, empty, emptyResult]) tensor.dispose();
  });

  test('new memory is zero, also where memory was freed before', () => {
    for (const size of [100, 300_000]) {
      for (let i = 0; i < 5; i++) {
        const tensor = runtime.tensor('float32', [size]);
        assert.ok(tensor.data.every((value) => value === 0));
        tensor.data.fill(7);
        tensor.dispose();
      }
    }
  });

  test('writing to data changes what the next run of a binding reads', async () => {
    const [x, y] = [runtime.tensor('float32', [2], [1, 2]), runtime.tensor('float32', [2])];
    const binding = bindOnce(doubling([2]), x, y);
    await binding.run();
    assert.deepEqual([...y.data], [2, 4]);
    x.data[1] = 10;
    await binding.run();
    assert.deepEqual([...y.data], [2, 20]);
    for (const resource of [binding, x, y]) resource.dispose();
  });

  test('an output bound to its input updates it in place, run after run', async () => {
    const session = runtime.session(accumulating);
    const state = runtime.tensor('float32', [3], [1, 2, 3]);
    const step = runtime.tensor('float32', [3], [1, 10, 100]);
    const binding = session.bind({ state, step }, { next: state });
    for (let i = 0; i < 3; i++) await binding.run();
    binding.runSync();
    assert.deepEqual([...state.data], [5, 42, 403]);
    for (const resource of [binding, session, state, step]) resource.dispose();
  });

  test('an output that would overwrite other memory of the graph is refused', () => {
    const session = runtime.session(accumulating);
    const shared = runtime.tensor('float32', [8]);
    const [state, step] = [runtime.view(shared, 0, [3]), runtime.view(shared, 3, [3])];
    const overlapping = runtime.view(shared, 1, [3]);
    assert.throws(() => session.bind({ state, step }, { next: step }), errorLike(/'next'.*input 'step'/, ShapeError));
    assert.throws(() => session.bind({ state, step }, { next: overlapping }), errorLike(/'next'.*shares/, ShapeError));
    const free = runtime.view(shared, 6, [2]);
    assert.throws(() => session.bind({ state, step }, { next: free }), ShapeError);
    session.bind({ state, step }, { next: runtime.view(shared, 0, [3]) }).dispose();
    session.dispose();
    shared.dispose();
  });

  test('a view is the middle of its base, as input and as output', () => {
    const base = runtime.tensor('float32', [6], [0, 1, 2, 3, 4, 5]);
    const [x, y] = [runtime.view(base, 1, [2]), runtime.view(base, 4, [2])];
    runOnce(doubling([2]), x, y);
    assert.deepEqual([...base.data], [0, 1, 2, 3, 2, 4]);
    const inner = runtime.view(y, 1, [1]);
    assert.equal(inner.data[0], 4);
    y.dispose();
    assert.equal(inner.data[0], 4, 'a view of a view belongs to the base');
    base.dispose();
    assert.throws(() => inner.data, BackendError);
    assert.throws(() => x.data, BackendError);
  });

  test('a view outside its base is refused', () => {
    const base = runtime.tensor('float32', [6]);
    for (const [offset, size] of [
      [-1, 2],
      [5, 2],
      [0.5, 1],
      [0, 7],
    ]) {
      assert.throws(() => runtime.view(base, offset, [size]), ShapeError);
    }
    base.dispose();
  });

  test('adopted memory is used where it lies', () => {
    const array = Float32Array.of(9, 9, 1, 2).subarray(2);
    const x = runtime.adopt('float32', [2], array);
    const y = runtime.tensor('float32', [2]);
    const binding = bindOnce(doubling([2]), x, y);
    array[0] = 5;
    binding.runSync();
    assert.deepEqual([...y.data], [10, 4]);
    for (const resource of [binding, x, y]) resource.dispose();
    assert.equal(array[0], 5, 'and left to its owner');
    assert.throws(() => runtime.adopt('int32', [2], array as unknown as Int32Array), ShapeError);
    const shared = new Float32Array(new SharedArrayBuffer(8));
    assert.throws(() => runtime.adopt('float32', [2], shared), errorLike(/shared memory/, BackendError));
  });

  test('outputs that are another name for an input are written all the same', () => {
    const model = onnxModel({ x: ['float32', [2, 3]] }, { y: ['float32', [2, 3]], z: ['float32', [2, 3]] }, [
      ['Flatten', ['x'], ['y']],
      ['Identity', ['y'], ['z']],
    ]);
    const session = runtime.session(model);
    const x = runtime.tensor('float32', [2, 3], [1, 2, 3, 4, 5, 6]);
    const [y, z] = [runtime.tensor('float32', [2, 3]), runtime.tensor('float32', [2, 3])];
    const binding = session.bind({ x }, { y, z });
    binding.runSync();
    assert.deepEqual([...y.data], [1, 2, 3, 4, 5, 6]);
    assert.deepEqual([...z.data], [1, 2, 3, 4, 5, 6]);
    for (const resource of [binding, session, x, y, z]) resource.dispose();
  });

  test('data that does not fill the shape is refused, as is an impossible shape', () => {
    assert.throws(() => runtime.tensor('float32', [2, 2], [1, 2, 3]), errorLike(/3 elements.*\[2, 2\].*4/, ShapeError));
    assert.throws(() => runtime.adopt('float32', [3], Float32Array.of(1)), ShapeError);
    for (const shape of [[-1], [1.5], [Number.NaN], [2 ** 30, 2 ** 30]]) {
      assert.throws(() => runtime.tensor('float32', shape), ShapeError);
    }
  });

  test('a tensor that does not fit is named with both types', () => {
    const session = runtime.session(doubling([2, 3]));
    const [x, y] = [runtime.tensor('float32', [2, 3]), runtime.tensor('float32', [2, 3])];
    const wrongShape = runtime.tensor('float32', [3, 2]);
    const wrongType = runtime.tensor('int32', [2, 3]);
    assert.throws(
      () => session.bind({ x: wrongShape }, { y }),
      errorLike(/'x' is float32 \[2, 3\].*float32 \[3, 2\]/, ShapeError),
    );
    assert.throws(
      () => session.bind({ x }, { y: wrongType }),
      errorLike(/'y' is float32 \[2, 3\].*int32 \[2, 3\]/, ShapeError),
    );
    assert.throws(() => session.bind({}, { y }), errorLike(/input 'x' .*not bound/, ShapeError));
    assert.throws(() => session.bind({ x }, {}), errorLike(/output 'y' .*not bound/, ShapeError));
    assert.throws(() => session.bind({ x, z: x }, { y }), errorLike(/no input 'z'; it has 'x'/, ShapeError));
    for (const resource of [session, x, y, wrongShape, wrongType]) resource.dispose();
  });

  test('a tensor of another runtime is refused', () => {
    const other = open(1);
    const foreign = other.tensor('float32', [1]);
    const session = runtime.session(doubling([1]));
    assert.throws(() => session.bind({ x: foreign }, { y: foreign }), errorLike(/input 'x'.*runtime/, BackendError));
    session.dispose();
    other.dispose();
  });

  test('bytes that are no model are refused', () => {
    const model = { ...doubling([1]), bytes: Uint8Array.of(1, 2, 3, 4) };
    assert.throws(() => runtime.session(model), BackendError);
    assert.throws(() => runtime.session({ ...model, bytes: new Uint8Array(0) }), BackendError);
  });

  test('an error inside a run rejects that run and no other', async () => {
    const gather = onnxModel({ x: ['float32', [2]], i: ['int64', [1]] }, { y: ['float32', [1]] }, [
      ['Gather', ['x', 'i'], ['y']],
    ]);
    const session = runtime.session(gather);
    const tensors = {
      x: runtime.tensor('float32', [2], [3, 4]),
      i: runtime.tensor('int64', [1], [5]),
      y: runtime.tensor('float32', [1]),
    };
    const binding = session.bind({ x: tensors.x, i: tensors.i }, { y: tensors.y });
    await assert.rejects(binding.run(), errorLike(/out of data bounds/, BackendError));
    assert.throws(() => binding.runSync(), errorLike(/out of data bounds/, BackendError));
    tensors.i.data[0] = 1n;
    await binding.run();
    assert.equal(tensors.y.data[0], 4);
    for (const resource of [binding, session, ...Object.values(tensors)]) resource.dispose();
  });

  test('every level of optimisation computes the same', () => {
    const [x, y] = [runtime.tensor('float32', [2], [1, 2]), runtime.tensor('float32', [2])];
    for (const optimization of ['none', 'basic', 'extended', 'all'] as const) {
      const session = runtime.session(doubling([2]), { optimization });
      y.data.fill(0);
      session.bind({ x }, { y }).runSync();
      session.dispose();
      assert.deepEqual([...y.data], [2, 4]);
    }
    x.dispose();
    y.dispose();
  });
}
