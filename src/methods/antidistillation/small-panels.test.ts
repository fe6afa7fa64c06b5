/** What is left out of a gradient: the panels with the least squares a number, up to a hundredth of all squares. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createCompiler } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import type { LanguageModel } from '../../model/language-model.js';
import { loadGoldenProxy, proxyOf } from './antidistillation.fixture.js';
import { directionReader, withoutSmallPanels } from './small-panels.js';

const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
after(() => {
  compiler.dispose();
  runtime.dispose();
});

const model = await loadGoldenProxy(compiler);
const { gradient: real } = await proxyOf(model);
const PANEL_ROWS = 32;

const squaresOf = (values: Float32Array): number => values.reduce((sum, value) => sum + value * value, 0);

/** Squares of each panel of 32 rows of a matrix, or of a vector, with their number of values. */
function panelsOf(gradient: ReadonlyMap<string, Float32Array>) {
  return [...model.parameters].flatMap(([name, { shape }]) => {
    const values = gradient.get(name)!;
    const size = shape.length === 2 ? PANEL_ROWS * shape[1] : values.length;
    return Array.from({ length: Math.ceil(values.length / size) }, (_, index) => {
      const panel = values.subarray(index * size, (index + 1) * size);
      return { name, isMatrix: shape.length === 2, panel, density: squaresOf(panel) / panel.length };
    });
  });
}

/** Of `given`: what is read, and which panels became zero. */
function read(given: ReadonlyMap<string, Float32Array>) {
  const reader = withoutSmallPanels(model, (name, into) => into.set(given.get(name)!));
  const found = new Map([...given].map(([name, values]) => [name, new Float32Array(values.length)]));
  for (const [name, into] of found) reader(name, into);
  const [before, now] = [panelsOf(given), panelsOf(found)];
  const leftOut = before.filter((_, index) => now[index].panel.every((value) => value === 0));
  for (const [index, each] of before.entries()) {
    if (!leftOut.includes(each)) assert.deepEqual(now[index].panel, each.panel, `${each.name} is kept as it is`);
  }
  return { before, leftOut };
}

test('the smallest panels of a real gradient are left out, up to a hundredth of its squares; vectors stay', () => {
  const held = runtime.ownedBytes;
  const { before, leftOut } = read(real);
  assert.equal(runtime.ownedBytes, held, 'no memory is kept');
  const total = before.reduce((sum, { panel }) => sum + squaresOf(panel), 0);
  const left = leftOut.reduce((sum, { panel }) => sum + squaresOf(panel), 0);
  const kept = before.filter((each) => each.isMatrix && !leftOut.includes(each));
  assert.ok(leftOut.length > 0 && leftOut.every(({ isMatrix }) => isMatrix));
  assert.ok(left <= 0.01 * total, `${left} of ${total}`);
  const least = kept.reduce((a, b) => (b.density < a.density ? b : a));
  assert.ok(leftOut.every(({ density }) => density <= least.density));
  assert.ok(left + squaresOf(least.panel) > 0.01 * total, 'one more would be too much');
});

test('a gradient of which every part is as large as every other stays whole but for a hundredth', () => {
  const even = new Map([...real].map(([name, values]) => [name, values.map((_, index) => (index % 2 ? 1 : -1))]));
  const { before, leftOut } = read(even);
  const size = (panels: typeof before) => panels.reduce((sum, { panel }) => sum + panel.length, 0);
  assert.ok(size(leftOut) <= 0.01 * size(before));
});

test('zeros are left out, not-a-numbers are not', () => {
  const [name] = [...model.parameters].find(([, { shape }]) => shape.length === 2)!;
  const one = new Map([...real].map(([each, values]) => [each, each === name ? values : values.map(() => 0)]));
  const { before, leftOut } = read(one);
  const zeros = before.filter(({ isMatrix, density }) => isMatrix && density === 0);
  assert.ok(zeros.length > 0 && zeros.every((each) => leftOut.includes(each)));
  const broken = new Map([...real].map(([each, values]) => [each, values.map(() => Number.NaN)]));
  assert.deepEqual(read(broken).leftOut, []);
});

test('an embedding stays whole, unless the head is tied to it', () => {
  const shape = [64, 8];
  const names = ['model.embed_tokens.weight', 'w'];
  const parameters = new Map(names.map((name) => [name, { shape }]));
  const small = (name: string, into: Float32Array) => void into.fill(name === 'w' ? 1 : 1e-3);
  for (const tiedHead of [false, true]) {
    const read = withoutSmallPanels({ compiler, parameters, config: { tiedHead } } as unknown as LanguageModel, small);
    const [embedding, matrix] = names.map((name) => {
      const values = new Float32Array(64 * 8);
      read(name, values);
      return values;
    });
    assert.ok(embedding.every((value) => value === (tiedHead ? 0 : Math.fround(1e-3))));
    assert.ok(matrix.every((value) => value === 1));
  }
});

test('the whole gradient is the direction in float32, and of small proxies', () => {
  const decaying = (_: string, into: Float32Array) => {
    for (let index = 0; index < into.length; index++) into[index] = 1 / (1 + index);
  };
  const large = {
    compiler,
    config: {},
    parameters: new Map([['w', { shape: [4096, 2048] }]]),
  } as unknown as LanguageModel;
  assert.equal(directionReader(model, 'bfloat16', decaying), decaying);
  assert.equal(directionReader(large, 'float32', decaying), decaying);
  const values = new Float32Array(4096 * 2048);
  directionReader(large, 'bfloat16', decaying)('w', values);
  assert.equal(values[PANEL_ROWS * 2048 - 1], Math.fround(1 / (PANEL_ROWS * 2048)));
  assert.equal(values[values.length - 1], 0);
});
