/** Δ in bfloat16, whose directions have 5 bits and whose head has 8: along gradients their errors average out. Skipped where there are no kernels. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { type Compiler, createCompiler, effectivePrecision } from '../../engine/compiler.js';
import { openRuntime } from '../../engine/runtime/open.js';
import { derivativeReader } from '../../inference/derivatives.fixture.js';
import type { Sequence } from '../../inference/sequence.js';
import { createStepRunner } from '../../inference/step-runner.js';
import type { LanguageModel } from '../../model/language-model.js';
import { golden, loadGoldenProxy, proxyOf } from './antidistillation.fixture.js';
import { withoutSmallPanels } from './small-panels.js';

const runtime = openRuntime({ threads: 1 });
const float = createCompiler(runtime, { precision: 'float32' });
const half = createCompiler(runtime, { precision: 'bfloat16' });
after(() => {
  for (const each of [float, half, runtime]) each.dispose();
});
const skip = effectivePrecision(runtime, 'bfloat16') === 'bfloat16' ? false : 'no kernels for bfloat16 here';

/** d/dε of the logits after each golden row along the gradient, from their mean. */
async function movesAfterRows(
  compiler: Compiler,
  gradient: ReadonlyMap<string, Float32Array>,
  of: 'logits' | 'logprobs',
): Promise<number[][]> {
  const model = await loadGoldenProxy(compiler);
  const direction = new Map(
    [...model.parameters].map(([name, { shape }]) => [name, runtime.tensor('float32', shape, gradient.get(name))]),
  );
  const runner = createStepRunner(model, { maxBatch: 1, maxCacheBytes: 2 ** 28, direction });
  const reader = derivativeReader(model, direction, { runner, batch: 1, of });
  runner.ensure({ slots: 1, capacity: 512 }, []);
  const found: number[][] = [];
  for (const { tokens } of golden.rows) {
    const sequence = { promptTokens: tokens, tokens: [] } as unknown as Sequence;
    for (let step = 0; step < tokens.length; step++) await runner.decode(1, [sequence], [step]);
    const moves = [...(await reader.read())];
    const mean = moves.reduce((sum, value) => sum + value, 0) / moves.length;
    found.push(moves.map((value) => value - mean));
  }
  reader.dispose();
  runner.dispose();
  for (const tensor of direction.values()) tensor.dispose();
  model.dispose();
  return found;
}

/** The gradient with zeros in its small panels, which kernels skip. */
function lightened(model: LanguageModel, gradient: ReadonlyMap<string, Float32Array>): Map<string, Float32Array> {
  const read = withoutSmallPanels(model, (name, into) => into.set(gradient.get(name)!));
  const numZeros = (values: Float32Array) => values.reduce((count, value) => count + Number(value === 0), 0);
  const light = new Map([...gradient].map(([name, values]) => [name, new Float32Array(values.length)]));
  for (const [name, into] of light) read(name, into);
  assert.ok([...light].some(([name, values]) => numZeros(values) > numZeros(gradient.get(name)!)));
  return light;
}

for (const [of, isLight] of [
  ['logits', false],
  ['logits', true],
  ['logprobs', false],
] as const) {
  const along = `along a gradient${isLight ? ' without its small panels' : ''}`;
  test(`${along} the moves of ${of} in bfloat16 are those of float32 within 4 %`, { skip }, async () => {
    const proxy = await loadGoldenProxy(float);
    const whole = (await proxyOf(proxy)).gradient;
    const gradient = isLight ? lightened(proxy, whole) : whole;
    proxy.dispose();
    const [given, wanted] = [await movesAfterRows(half, gradient, of), await movesAfterRows(float, gradient, of)];
    const error = Math.hypot(...given.flatMap((row, index) => row.map((value, id) => value - wanted[index][id])));
    const size = Math.hypot(...wanted.flat());
    assert.ok(error > 0 && error < 0.04 * size, `${error / size} of their size`);
  });
}
