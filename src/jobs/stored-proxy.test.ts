/** A model in blocks that is its own proxy: nothing that is asked of it changes what it computes with. Skipped where there are no kernels. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { type Compiler, createCompiler } from '../engine/compiler.js';
import { openRuntime } from '../engine/runtime/open.js';
import { createGenerator, type GeneratorOptions } from '../inference/generator.js';
import { storedCheckpoint } from '../inference/stored-weights.fixture.js';
import { proxyOf } from '../methods/antidistillation/antidistillation.fixture.js';
import { createDefence } from '../methods/antidistillation/defence.js';
import { type LanguageModel, loadModel } from '../model/language-model.js';
import { identifyParameters } from '../training/run-setup.js';

const runtime = openRuntime({ threads: 1 });
const compilers = (['float32', 'bfloat16'] as const).map((precision) => createCompiler(runtime, { precision }));
after(() => {
  for (const compiler of compilers) compiler.dispose();
  runtime.dispose();
});
const skip = runtime.kernels.ops.has('FloatBlockGroups') ? false : 'no kernels for blocks here';
const load = (compiler: Compiler): LanguageModel => loadModel(compiler, storedCheckpoint(true));
const numStored = ({ parameters }: LanguageModel): number =>
  [...parameters.values()].filter(({ blocks }) => blocks !== undefined).length;

async function sample(model: LanguageModel, options: GeneratorOptions = {}): Promise<unknown> {
  const generator = createGenerator(model, options);
  const found: unknown[] = [];
  const request = { id: 'a', promptTokens: [3, 4, 9], maxTokens: 8, seed: 4, sampler: { temperature: 0.9 } };
  await generator.generate([request], { onTrace: ({ tokens, logprobs }) => void found.push(tokens, logprobs) });
  generator.dispose();
  return found;
}

for (const compiler of compilers) {
  test(`telling models apart leaves blocks as they are (${compiler.precision})`, { skip }, () => {
    const [stored, whole] = [load(compiler), loadModel(compiler, storedCheckpoint(false))];
    const before = [numStored(stored), runtime.ownedBytes];
    assert.equal(identifyParameters(stored), identifyParameters(whole));
    assert.ok(before[0] > 0);
    assert.deepEqual([numStored(stored), runtime.ownedBytes], before);
    for (const each of [stored, whole]) each.dispose();
  });

  for (const estimator of ['jvp', 'central'] as const) {
    test(`a defence of strength 0 is plain sampling, bit for bit (${compiler.precision}, ${estimator})`, {
      skip,
    }, async () => {
      const model = load(compiler);
      const before = numStored(model);
      const plain = await sample(model);
      const other = load(compiler);
      const proxy = await proxyOf(other);
      other.dispose();
      const defence = createDefence(model, proxy, { estimator });
      const { companions } = defence;
      assert.deepEqual(await sample(model, { processors: [defence.tilt(0)], companions }), plain);
      assert.notDeepEqual(await sample(model, { processors: [defence.tilt(1)], companions }), plain);
      assert.equal(numStored(model), before);
      for (const each of [defence, model]) each.dispose();
    });
  }
}
