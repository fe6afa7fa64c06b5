import assert from 'node:assert/strict';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createCompiler, effectivePrecision } from '../engine/compiler.js';
import { openRuntime } from '../engine/runtime/open.js';
import { openCheckpoint } from '../model/checkpoint.js';
import { readAdapter } from '../model/files/adapter.js';
import { createModel, type LanguageModel } from '../model/language-model.js';
import { CheckpointError, ConfigError, DataError } from '../support/errors.js';
import { createRandom } from '../support/random.js';
import { trainingSchema } from './config.js';
import { saveTrainedModel } from './save.js';
import { type StepReport, type TrainingHooks, trainModel } from './train.js';
import { countingRows, tinyConfig } from './training.fixture.js';

const runtime = openRuntime({ threads: 1 });
const compiler = createCompiler(runtime);
const root = mkdtempSync(join(tmpdir(), 'train-test-'));
after(() => {
  compiler.dispose();
  runtime.dispose();
  rmSync(root, { recursive: true });
});

const settings = { batchSize: 5, microBatchTokens: 128, learningRate: 1e-2, checkpointEverySteps: 3, epochs: 1 };
const fresh = () => createModel(compiler, tinyConfig, createRandom(1));
const weights = (model: LanguageModel) =>
  [...model.parameters].map(([name, { data }]) => ({ name, data: data.slice() }));

/** One run from fresh weights; gives what it reported and ended with. */
async function run(changes: object, hooks: TrainingHooks = {}, rows = countingRows(33)) {
  const base = fresh();
  const steps: StepReport[] = [];
  const notices: string[] = [];
  try {
    const config = trainingSchema.parse({ ...settings, ...changes });
    const result = await trainModel(base, rows, config, {
      ...hooks,
      onStep: (report) => {
        steps.push(report);
        hooks.onStep?.(report);
      },
      log: (notice) => notices.push(notice),
    });
    const after = weights(result.model);
    if (result.model !== base)
      for (const name of result.model.parameters.keys())
        if (name.includes('lora_')) result.model.parameters.get(name)!.dispose();
    return { ...result, steps, notices, weights: after };
  } finally {
    base.dispose();
  }
}

test('training lowers the loss and reports every step', async () => {
  const { steps, isComplete, numSteps, numTokens, lossNats } = await run({ epochs: 8 });
  assert.equal(numSteps, 8 * 7);
  assert.deepEqual(
    steps.map(({ step }) => step),
    Array.from({ length: 56 }, (_, index) => index + 1),
  );
  assert.ok(isComplete);
  assert.equal(
    numTokens,
    steps.reduce((sum, report) => sum + report.numTokens, 0),
  );
  assert.equal(numTokens, 8 * countingRows(33).reduce((sum, row) => sum + row.tokens.length - row.responseStart, 0));
  assert.ok(lossNats! < 0.5 * steps[0].lossNats, `from ${steps[0].lossNats} to ${lossNats} nats`);
  for (const { lossNats: loss, gradientNorm, durationMs, numComputedTokens, numTokens: counted } of steps)
    assert.ok(loss > 0 && gradientNorm > 0 && durationMs > 0 && numComputedTokens >= counted);
});

test('adapters are trained alone, start at the model itself, and are saved for PEFT', async () => {
  const base = fresh();
  const before = weights(base);
  const config = trainingSchema.parse({ ...settings, epochs: 4, lora: { rank: 4, alpha: 8 } });
  const losses: number[] = [];
  const { model } = await trainModel(base, countingRows(33), config, {
    onStep: ({ lossNats }) => losses.push(lossNats),
  });
  assert.deepEqual(weights(base), before, 'the base is untouched');
  assert.equal(losses[0], (await run({ maxSteps: 1 })).steps[0].lossNats);
  assert.ok(losses.at(-1)! < 0.9 * losses[0]);
  const folder = join(root, 'adapter');
  await saveTrainedModel(folder, model, { baseModel: 'tiny' });
  const { lora, baseModel, values } = readAdapter(folder, tinyConfig);
  assert.deepEqual(
    { lora, baseModel },
    { lora: { ...config.lora!, targetModules: [...config.lora!.targetModules].sort() }, baseModel: 'tiny' },
  );
  for (const [name, data] of values) assert.deepEqual(data, model.parameters.get(name)!.data.slice());
  await assert.rejects(trainModel(model, countingRows(3), config), /already has adapters/);
  model.dispose();
});

test('a trained model is saved as a checkpoint that holds its weights', async () => {
  const model = fresh();
  const folder = join(root, 'model');
  await saveTrainedModel(folder, model);
  const checkpoint = await openCheckpoint(folder);
  for (const { name, data } of weights(model)) {
    const read = new Float32Array(data.length);
    checkpoint.read(name, read);
    assert.deepEqual(read, data);
  }
  checkpoint.dispose();
  model.dispose();
});

test('a signal ends the run after the step at hand; continued equals straight through', async () => {
  const straight = await run({});
  const folder = join(root, 'signal');
  const stop = new AbortController();
  const first = await run({}, { folder, signal: stop.signal, onStep: ({ step }) => step === 4 && stop.abort() });
  assert.deepEqual([first.isComplete, first.numSteps], [false, 4]);
  const second = await run({}, { folder });
  assert.deepEqual([second.isComplete, second.numSteps, second.steps.length], [true, 7, 3]);
  assert.deepEqual(second.weights, straight.weights);
  assert.equal(second.numTokens, straight.numTokens);
  assert.deepEqual(readdirSync(join(folder, 'checkpoints')), ['step-000006', 'step-000007']);
  const third = await run({}, { folder });
  assert.deepEqual([third.isComplete, third.steps.length], [true, 0]);
  assert.deepEqual(third.weights, straight.weights);
});

test('damaged checkpoints are told and passed over; with none whole the run is refused', async () => {
  const straight = await run({});
  const folder = join(root, 'damaged');
  await run({ keepCheckpoints: 3 }, { folder });
  const parent = join(folder, 'checkpoints');
  const damages: [string, (path: string) => void][] = [
    [
      'is not what was written',
      (path) => {
        const bytes = readFileSync(join(path, 'moments.safetensors'));
        bytes[bytes.length - 9] ^= 1;
        writeFileSync(join(path, 'moments.safetensors'), bytes);
      },
    ],
    ['bytes', (path) => truncateSync(join(path, 'trained.safetensors'), 1000)],
    ['state.json', (path) => rmSync(join(path, 'state.json'))],
    ['JSON', (path) => truncateSync(join(path, 'state.json'), 100)],
  ]; // prettier-ignore
  for (const [reason, damage] of damages) {
    const copy = join(root, 'damaged-copy');
    cpSync(folder, copy, { recursive: true });
    mkdirSync(join(copy, 'checkpoints', '.step-000008.0123456789ab.tmp'));
    damage(join(copy, 'checkpoints', 'step-000007'));
    const resumed = await run({}, { folder: copy });
    assert.match(resumed.notices[0], /step-000007 is damaged and was skipped/);
    assert.ok(resumed.notices[0].includes(reason), resumed.notices[0]);
    assert.equal(resumed.steps[0].step, 7);
    assert.deepEqual(resumed.weights, straight.weights);
    assert.deepEqual(readdirSync(join(copy, 'checkpoints')), ['step-000006', 'step-000007']);
    rmSync(copy, { recursive: true });
  }
  for (const name of readdirSync(parent)) truncateSync(join(parent, name, 'state.json'), 5);
  await assert.rejects(
    run({}, { folder }),
    (error) => error instanceof CheckpointError && /none of the 3 checkpoints is whole/.test(error.message),
  );
});

test('a checkpoint of another run is refused, saying what differs', async () => {
  const folder = join(root, 'other');
  await run({ maxSteps: 3 }, { folder });
  const refused = (changes: object, message: RegExp, rows = countingRows(33)) =>
    assert.rejects(
      run({ maxSteps: 3, ...changes }, { folder }, rows),
      (error) => error instanceof CheckpointError && message.test(error.message),
    );
  await refused({ learningRate: 2e-2 }, /learningRate was 0.01, is 0.02/);
  await refused({ maxSteps: 4 }, /maxSteps was 3, is 4/);
  if (effectivePrecision(runtime, 'auto') === 'bfloat16') {
    await refused({ precision: 'bfloat16' }, /precision was "float32", is "bfloat16"/);
  }
  await refused({}, /its rows were others/, countingRows(32));
  await run({ maxSteps: 3, keepCheckpoints: 5, checkpointEverySteps: 1 }, { folder });
  const other = createModel(compiler, tinyConfig, createRandom(2));
  const config = trainingSchema.parse({ ...settings, maxSteps: 3 });
  await assert.rejects(trainModel(other, countingRows(33), config, { folder }), /started from another model/);
  other.dispose();
});

test('a loss that is not finite ends the run, naming step, rows and the last good checkpoint, which stays good', async () => {
  const folder = join(root, 'diverged');
  const straight = await run({ epochs: 1 }, {});
  const poison = (base: LanguageModel) => {
    base.parameters.get('model.norm.weight')!.data[0] = Number.NaN;
  };
  const base = fresh();
  const config = trainingSchema.parse(settings);
  await assert.rejects(
    trainModel(base, countingRows(33), config, {
      folder,
      onStep: ({ step }) => step === 4 && poison(base),
    }),
    (error) =>
      error instanceof DataError &&
      /diverged at step 5: the loss is NaN/.test(error.message) &&
      /Rows of the batch: (row-\d+, ){4}row-\d+\./.test(error.message) &&
      error.message.includes(join(folder, 'checkpoints', 'step-000003')),
  );
  base.dispose();
  assert.deepEqual(readdirSync(join(folder, 'checkpoints')), ['step-000003']);
  assert.deepEqual((await run({}, { folder })).weights, straight.weights);
});

test('a maxLength beyond the context is refused; rows that are cut or left out are told', async () => {
  await assert.rejects(
    run({ maxLength: 65 }),
    (error) => error instanceof ConfigError && /context is 64/.test(error.message),
  );
  const { notices } = await run({ maxLength: 10, overlong: 'truncate' });
  assert.match(notices[0], /^\d+ of 33 rows were cut at 10 tokens/);
});

test('unknown settings are refused', () => {
  assert.throws(() => trainingSchema.parse({ learningrate: 1 }), /learningrate/);
  assert.throws(() => trainingSchema.parse({ lora: { ranks: 1 } }), /ranks/);
});

test('evaluation is called between steps with the model', async () => {
  const seen: number[] = [];
  await run(
    { evaluateEverySteps: 2 },
    { evaluate: async (step, { parameters }) => void (parameters.size > 0 && seen.push(step)) },
  );
  assert.deepEqual(seen, [2, 4, 6]);
});

test('weights of a row that are all alike change nothing, whatever they are; tokens of weight 0 teach nothing', async () => {
  const rows = countingRows(10);
  const weighted = (weightOf: (row: number, token: number) => number) =>
    rows.map((row, at) => ({ ...row, weights: row.tokens.map((_, token) => weightOf(at, token)) }));
  const once = { maxSteps: 1, batchSize: 10 };
  const plain = await run(once, {}, rows);
  const doubled = await run(
    once,
    {},
    weighted(() => 2),
  );
  const close = (a: number, b: number) => assert.ok(Math.abs(a - b) < 1e-5, `${a} against ${b}`);
  close(doubled.lossNats!, plain.lossNats!);
  const half = await run(
    once,
    {},
    weighted((row) => (row < 5 ? 1 : 0)),
  );
  close(half.lossNats!, (await run({ ...once, batchSize: 5 }, {}, rows.slice(0, 5))).lossNats!);
  assert.ok(Math.abs(half.lossNats! - plain.lossNats!) > 1e-4);
  await assert.rejects(run(once, {}, [{ ...rows[0], weights: [1] }]), /Row ".*": weights must be \d+ numbers/);
});
