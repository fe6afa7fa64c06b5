/** Native kernels against float64 and against the composite lowering. */
import assert from 'node:assert/strict';
import { after as afterAll, describe, test } from 'node:test';
import { array64 } from '../reference.fixture.js';
import { openRuntime } from '../runtime/open.js';
import type { CompiledModel } from '../runtime/types.js';
import { writeOnnxModel } from './model-writer.js';

const runtime = openRuntime({ threads: 2 });
afterAll(() => runtime.dispose());
const { kernels } = runtime;
const skip = kernels.level === 'none' ? `no kernels: ${kernels.reason}` : false;

/** Runs one native node by hand. */
function runNode(
  op: string,
  given: { shape: number[]; data: Float32Array },
  attributes: Record<string, number>,
): Float32Array {
  const halfShape = [given.shape[0], Math.ceil(given.shape[1] / 32) * 32];
  const ints = Object.fromEntries(Object.entries(attributes).map(([name, int]) => [name, { int }]));
  const node = (name: string, inputs: string[], outputs: string[]) => ({
    op: name,
    domain: 'azeotrope',
    inputs,
    outputs,
    attributes: ints,
  });
  const float = { dtype: 'float32', shape: given.shape } as const;
  const model: CompiledModel = {
    bytes: writeOnnxModel({
      nodes: [node(op, ['x'], ['half']), node('ToFloat', ['half'], ['y'])],
      inputs: [{ name: 'x', ...float }],
      outputs: [{ name: 'y', ...float }],
      initializers: [],
      valueInfo: [{ name: 'half', dtype: 'bfloat16', shape: halfShape }],
    }),
    inputs: { x: float },
    outputs: { y: { ...float, inPlaceOf: undefined } },
  };
  const x = runtime.tensor('float32', given.shape, given.data);
  const y = runtime.tensor('float32', given.shape);
  const session = runtime.session(model);
  const binding = session.bind({ x }, { y });
  binding.runSync();
  const result = y.data.slice();
  for (const resource of [binding, session, x, y]) resource.dispose();
  return result;
}

describe('conversion', { skip }, () => {
  test('a float32 comes back from bfloat16 within half a unit in the last place, specials as they are', () => {
    const [rows, width] = [67, 45];
    const data = Float32Array.from(array64([rows, width], (i) => Math.sin(i) * 10 ** ((i % 60) - 30)).data);
    data.set([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 1, 3.3e38]);
    const back = runNode('ToHalf', { shape: [rows, width], data }, { rows, width, offset: 0, stride: 64 });
    assert.deepEqual([...back.subarray(0, 5)], [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 1]);
    back.subarray(6).forEach((value, index) => {
      const exact = data[index + 6];
      assert.ok(Math.abs(value - exact) <= Math.abs(exact) * 2 ** -8, `${value}, expected ${exact}`);
    });
  });
});
