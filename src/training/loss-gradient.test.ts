/** The gradient of a dataset's mean loss: its truth, and what it must not depend on. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createCompiler } from '../engine/compiler.js';
import { openRuntime } from '../engine/runtime/open.js';
import { createModel, type LanguageModel } from '../model/language-model.js';
import { createRandom, shuffle } from '../support/random.js';
import { numResponseTokens, type TrainingExample } from './batches.js';
import { lossGradient } from './loss-gradient.js';
import { computeGradients, countingRows, relativeDifference, tinyConfig, weightedInput } from './training.fixture.js';

const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
after(() => {
  compiler.dispose();
  runtime.dispose();
});

const model = createModel(compiler, tinyConfig, createRandom(11));
const rows = countingRows(23);

interface Result {
  readonly lossNats: number;
  readonly numTokens: number;
  readonly gradient: Map<string, Float32Array>;
}

async function compute(examples: readonly TrainingExample[], microBatchTokens: number): Promise<Result> {
  const { gradient, ...rest } = await lossGradient(model, examples, { microBatchTokens });
  const copy = new Map([...gradient].map(([name, { data }]) => [name, data.slice()]));
  for (const tensor of gradient.values()) tensor.dispose();
  return { ...rest, gradient: copy };
}

function assertSame(got: Result, expected: Result): void {
  assert.equal(got.numTokens, expected.numTokens);
  assert.ok(Math.abs(got.lossNats - expected.lossNats) < 1e-5 * expected.lossNats);
  for (const [name, values] of expected.gradient) {
    const difference = relativeDifference(got.gradient.get(name)!, values);
    assert.ok(difference < 1e-5, `${name}: ${difference}`);
  }
}

test('it is the gradient of the mean over response tokens, each token weighing the same', async () => {
  const numTokens = rows.reduce((sum, row) => sum + numResponseTokens(row), 0);
  const weighted = rows.map(({ tokens, responseStart }) => ({
    tokens,
    weights: tokens.map((_, index) => (index > 0 && index >= responseStart ? 1 / numTokens : 0)),
  }));
  const { loss, gradients } = await computeGradients(model, weightedInput(weighted, 32));
  assertSame(await compute(rows, 64), { lossNats: loss, numTokens, gradient: gradients });
});

test('it does not depend on the size of batches or the order of the rows', async () => {
  const whole = await compute(rows, 4096);
  for (const microBatchTokens of [16, 48, 200]) assertSame(await compute(rows, microBatchTokens), whole);
  assertSame(await compute(shuffle([...rows], createRandom(3)), 100), whole);
});

test('the gradients of 2 or 4 parts of the data, weighted by their tokens, are that of the whole', async () => {
  const whole = await compute(rows, 256);
  for (const numShards of [1, 2, 4]) {
    const shards: Result[] = [];
    for (let shard = 0; shard < numShards; shard++) {
      shards.push(
        await compute(
          rows.filter((_, index) => index % numShards === shard),
          128,
        ),
      );
    }
    const numTokens = shards.reduce((sum, shard) => sum + shard.numTokens, 0);
    const mean = (of: (shard: Result) => number) =>
      shards.reduce((sum, shard) => sum + (shard.numTokens / numTokens) * of(shard), 0);
    assertSame(
      {
        numTokens,
        lossNats: mean(({ lossNats }) => lossNats),
        gradient: new Map(
          [...whole.gradient].map(([name, values]) => [
            name,
            values.map((_, index) => mean(({ gradient }) => gradient.get(name)![index])),
          ]),
        ),
      },
      whole,
    );
  }
});

test('progress ends at the number of response tokens; stopped, or with wrong rows, it gives back all memory', async () => {
  const done: number[] = [];
  const { gradient, numTokens } = await lossGradient(model, rows, {
    microBatchTokens: 128,
    onProgress: (count, total) => void done.push(count / total),
  });
  for (const tensor of gradient.values()) tensor.dispose();
  assert.ok(done.length > 1 && numTokens > 0);
  assert.equal(done.at(-1), 1);
  const before = runtime.ownedBytes;
  const refused = (examples: readonly TrainingExample[], of: LanguageModel, signal?: AbortSignal) =>
    lossGradient(of, examples, { microBatchTokens: 64, signal });
  await assert.rejects(refused(rows, model, AbortSignal.abort()), { name: 'AbortError' });
  await assert.rejects(refused([], model), /DataError: There are no rows/);
  await assert.rejects(refused([{ id: 'a', tokens: [1, 48], responseStart: 0 }], model), /Row "a": token 1 is 48/);
  assert.equal(runtime.ownedBytes, before);
});
