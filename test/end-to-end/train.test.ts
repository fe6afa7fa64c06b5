import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openSafetensors } from '../../src/model/files/safetensors.js';
import {
  familyFolder,
  interrupt,
  readRows,
  run,
  runJson,
  start,
  temporaryFolder,
  writeRows,
} from './program.fixture.js';

const folder = temporaryFolder();
const file = (name: string) => join(folder, name);
const words = familyFolder('qwen2.5-padded');

/** Counting by one: a response follows from its prompt, so that a few steps lower the loss. */
const countingRow = (id: number) => {
  const first = 5 + ((id * 17) % 60);
  const word = (offset: number) => `w${first + offset}`;
  return { id, prompt: `${word(0)} ${word(1)}`, response: [2, 3, 4, 5].map(word).join(' ') };
};
const rows = writeRows(
  file('rows.jsonl'),
  Array.from({ length: 48 }, (_, id) => countingRow(id)),
);
const heldOut = writeRows(
  file('held-out.jsonl'),
  Array.from({ length: 8 }, (_, id) => countingRow(id + 50)),
);
/** Sums of products are compared more closely than bfloat16 has digits. */
const FLOAT = ['--precision', 'float32'];
const FAST = ['--learning-rate', '1e-2', '--batch-size', '8', '--threads', '1'];
const weightsOf = (name: string) => readFileSync(join(file(name), 'model.safetensors'));
const scoreLoss = async (model: string[], output: string): Promise<number> =>
  (await runJson(['score', ...model, '--input', heldOut, '--output', file(output)])).lossNats;

test('training all weights lowers the held-out loss, and the folder is a model with its tokenizer that scores so', async () => {
  const output = file('full');
  const command = ['train', '--model', words, '--traces', rows, '--validation', heldOut, '--output', output, ...FAST];
  const result = await runJson([...command, '--epochs', '4']);
  assert.deepEqual(
    { numRows: result.numRows, numSteps: result.numSteps, numTokens: result.numTokens, isComplete: result.isComplete },
    { numRows: 48, numSteps: 24, numTokens: 4 * 48 * 5, isComplete: true },
  );
  const { lossNatsBefore, lossNatsAfter } = result.validation;
  assert.ok(lossNatsAfter < lossNatsBefore - 1, `${lossNatsBefore} → ${lossNatsAfter}`);
  assert.deepEqual(readdirSync(output).sort(), [
    ...['config.json', 'generation_config.json', 'model.safetensors'],
    ...['tokenizer.json', 'tokenizer_config.json', 'training.json'],
  ]);
  const [before, after] = await Promise.all([
    scoreLoss(['--model', words], 'scores-before.jsonl'),
    scoreLoss(['--model', output], 'scores-after.jsonl'),
  ]);
  assert.ok(Math.abs(before - lossNatsBefore) < 1e-5);
  assert.ok(Math.abs(after - lossNatsAfter) < 1e-5);

  const again = await run([...command, '--epochs', '4', '--json']);
  assert.deepEqual(JSON.parse(again.stdout), result);
  assert.match(again.stderr, /is finished already/);
  const other = await run([...command, '--epochs', '5']);
  assert.equal(other.code, 2);
  assert.match(
    other.stderr,
    /full: this folder holds a model trained with other settings or rows\. Name another output\./,
  );
});

test('adapters on the model, and merged into it, are the same model; the base is left as it was', async () => {
  const lora = [
    'train',
    '--model',
    words,
    '--traces',
    rows,
    '--validation',
    heldOut,
    ...FAST,
    '--lora-rank',
    '4',
    ...FLOAT,
  ];
  const [adapter, merged] = await Promise.all([
    runJson([...lora, '--output', file('adapter')]),
    runJson([...lora, '--output', file('merged'), '--merge']),
  ]);
  assert.deepEqual(readdirSync(file('adapter')).sort(), [
    ...['adapter_config.json', 'adapter_model.safetensors', 'training.json'],
  ]);
  const config = JSON.parse(readFileSync(join(file('adapter'), 'adapter_config.json'), 'utf8'));
  assert.deepEqual([config.r, config.lora_alpha, config.base_model_name_or_path], [4, 8, words]);
  assert.equal(adapter.validation.lossNatsAfter, merged.validation.lossNatsAfter);
  assert.ok(adapter.validation.lossNatsAfter < adapter.validation.lossNatsBefore - 0.1);
  const [withAdapter, withMerged] = await Promise.all([
    scoreLoss(['--model', words, '--adapter', file('adapter'), ...FLOAT], 'scores-adapter.jsonl'),
    scoreLoss(['--model', file('merged'), ...FLOAT], 'scores-merged.jsonl'),
  ]);
  assert.ok(Math.abs(withAdapter - adapter.validation.lossNatsAfter) < 1e-5);
  assert.ok(Math.abs(withMerged - withAdapter) < 1e-4); // x·(W + sAB) is rounded otherwise than x·W + s(xA)B
});

test('a model from nothing but a config.json: same seed, same weights; another seed, others', async () => {
  const config = file('config.json');
  writeFileSync(config, readFileSync(join(words, 'config.json')));
  const ids = writeRows(file('ids.jsonl'), [
    { id: 1, tokens: [5, 6, 7, 8], responseStart: 2 },
    { id: 2, tokens: [15, 16, 17, 18], responseStart: 2 },
  ]);
  const train = (output: string, ...more: string[]) =>
    runJson(['train', '--init', config, '--traces', ids, '--output', file(output), '--threads', '1', ...more]);
  await Promise.all([train('made'), train('made-again'), train('made-otherwise', '--seed', '1')]);
  assert.deepEqual(weightsOf('made-again'), weightsOf('made'));
  assert.notDeepEqual(weightsOf('made-otherwise'), weightsOf('made'));
  const withTokenizer = await run([
    ...['train', '--init', config, '--model', words, '--traces', rows, '--output', file('made-text')],
    ...['--max-steps', '1'],
  ]);
  assert.equal(withTokenizer.code, 0, withTokenizer.stderr);
  assert.ok(existsSync(join(file('made-text'), 'tokenizer.json')));
});

test('killed or stopped by Ctrl-C and run again equals straight through, bit for bit, and the message says how', async () => {
  const settings = ['--epochs', '40', '--checkpoint-every-steps', '20', ...FAST];
  const command = (output: string) => [
    ...['train', '--model', words, '--traces', rows, '--validation', heldOut, '--output', file(output), ...settings],
  ];
  const straight = await runJson(command('straight'));
  const checkpoints = (output: string) => {
    const path = join(file(output), 'checkpoints');
    return existsSync(path) ? readdirSync(path).filter((name) => name.startsWith('step-')) : [];
  };
  const isUnderWay = (output: string) => () => checkpoints(output).some((name) => name >= 'step-000040');
  const [, stopped] = await Promise.all([
    interrupt(start(command('killed')), 'SIGKILL', isUnderWay('killed')),
    interrupt(start(command('stopped')), 'SIGINT', isUnderWay('stopped')),
  ]);
  assert.equal(stopped.code, 130, stopped.stderr);
  assert.match(
    stopped.stderr,
    /Stopping at the next whole step; again to stop at once\.\n[\s\S]*Stopped\. .*stopped keeps the last checkpoint; the same command continues from it\.\n$/,
  );
  const other = await run([...command('stopped'), '--learning-rate', '1e-3']);
  assert.equal(other.code, 2, other.stderr);
  assert.match(other.stderr, /checkpoints.step-\d+ belongs to another run: .*learningRate/);
  for (const name of ['killed', 'stopped']) {
    assert.ok(!existsSync(join(file(name), 'config.json')), 'no model before the end');
    const { code, stdout, stderr } = await run([...command(name), '--json']);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /Goes on from .*step-\d+ \(step \d+ of 240\)/);
    assert.deepEqual(weightsOf(name), weightsOf('straight'));
    assert.deepEqual({ ...JSON.parse(stdout), output: '' }, { ...straight, output: '' });
    assert.deepEqual(readdirSync(file(name)).sort(), readdirSync(file('straight')).sort());
  }
});

test('traces of a model are learned from as they are', async () => {
  const traces = file('traces.jsonl');
  const sample = ['sample', '--model', words, '--input', rows, '--output', traces, '--samples', '2'];
  await runJson([...sample, '--max-tokens', '6', '--temperature', '0.3']);
  const result = await runJson(['train', '--model', words, '--traces', traces, '--output', file('student'), ...FAST]);
  assert.equal(result.numRows, 96);
  assert.equal(
    result.numTokens,
    readRows(traces).reduce((sum, { tokens }) => sum + tokens.length, 0),
  );
  assert.ok(result.trainingLossNats > 0 && result.trainingLossNats < 5);
});

test('weights are written in float32, under the names that transformers reads', async () => {
  const base = openSafetensors(join(words, 'model.safetensors'));
  await runJson(['train', '--model', words, '--traces', rows, '--output', file('named'), '--max-steps', '1', ...FAST]);
  const written = openSafetensors(join(file('named'), 'model.safetensors'));
  try {
    assert.deepEqual([...written.tensors.keys()].sort(), [...base.tensors.keys()].sort());
    for (const [name, { shape, dtype }] of written.tensors) {
      assert.deepEqual({ shape, dtype }, { shape: base.tensors.get(name)!.shape, dtype: 'F32' });
    }
  } finally {
    base.dispose();
    written.dispose();
  }
});
