import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createCompiler } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { loadGoldenProxy, proxyOf } from './antidistillation.fixture.js';
import { perturbedModel } from './perturb.js';

const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
after(() => {
  compiler.dispose();
  runtime.dispose();
});

test('θ + step·g stands in float32 in memory of its own; the model it came from is as it was', async () => {
  const model = await loadGoldenProxy(compiler);
  const { gradient, epsilon } = await proxyOf(model);
  const before = new Map([...model.parameters].map(([name, { data }]) => [name, data.slice()]));
  const ownedBytes = runtime.ownedBytes;
  const moved = perturbedModel(model, gradient, epsilon);
  assert.equal(moved.architectureKey, model.architectureKey);
  assert.equal(moved.compiler, model.compiler);
  let numMoved = 0;
  let numElements = 0;
  let numKeptByHalves = 0;
  for (const [name, { data }] of moved.parameters) {
    const direction = gradient.get(name)!;
    const source = before.get(name)!;
    assert.deepEqual(model.parameters.get(name)!.data, source);
    data.forEach((value, index) => {
      assert.equal(value, Math.fround(source[index] + epsilon * direction[index]));
      numElements += 1;
      numMoved += Number(value !== source[index]);
      // bfloat16 keeps 8 bits: the step is below half of its last place
      numKeptByHalves += Number(Math.abs(value - source[index]) > 2 ** -9 * Math.abs(source[index]));
    });
  }
  assert.ok(numMoved > 0.6 * numElements, `${numMoved} of ${numElements} moved`);
  assert.ok(numKeptByHalves < 0.1 * numElements, 'in 16 bits nearly nothing would have moved');
  moved.dispose();
  assert.equal(runtime.ownedBytes, ownedBytes);
  assert.equal(model.parameters.get('model.norm.weight')!.data.length, model.config.hiddenSize);
  model.dispose();
});

test('a parameter without a gradient stays, and a gradient of another shape is refused', async () => {
  const model = await loadGoldenProxy(compiler);
  const name = 'model.norm.weight';
  const moved = perturbedModel(model, new Map([[name, new Float32Array(model.config.hiddenSize).fill(1)]]), 0.5);
  for (const [parameter, { data }] of moved.parameters) {
    const source = model.parameters.get(parameter)!.data;
    assert.deepEqual(data, parameter === name ? source.map((value) => value + 0.5) : source);
  }
  assert.throws(() => perturbedModel(model, new Map([[name, new Float32Array(3)]]), 1), /does not fit/);
  moved.dispose();
  model.dispose();
});
