import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { finishedFolder, finishedRun, finishRun, makeRunFolder, measureOnce } from './run-folder.js';

const folder = mkdtempSync(join(tmpdir(), 'run-folder-test-'));
after(() => rmSync(folder, { recursive: true }));

/** A run whose model is written but not yet in its place. */
function unfinished(name: string): string {
  const output = join(folder, name);
  mkdirSync(join(output, 'checkpoints', 'step-000010'), { recursive: true });
  mkdirSync(finishedFolder(output));
  for (const file of ['config.json', 'model.safetensors']) writeFileSync(join(finishedFolder(output), file), file);
  return output;
}

test('a finished run leaves the model and its record alone, and is recognised by its identity', async () => {
  const output = unfinished('run');
  assert.equal(await finishedRun(output, 'mine'), undefined);
  await finishRun(output, { identity: 'mine', result: { numSteps: 10 } });
  assert.deepEqual(readdirSync(output).sort(), ['config.json', 'model.safetensors', 'training.json']);
  assert.deepEqual(await finishedRun(output, 'mine'), { numSteps: 10 });
  await assert.rejects(finishedRun(output, 'other'), /trained with other settings or rows\. Name another output/);
  writeFileSync(join(output, 'training.json'), '{');
  await assert.rejects(finishedRun(output, 'mine'), /training\.json: not the record of a training run/);
});

test('stopped while the model is moved, the run still has its checkpoints and can be finished again', async () => {
  const output = unfinished('moved');
  mkdirSync(join(output, 'config.json')); // the last file cannot be moved here: the others were
  await assert.rejects(finishRun(output, { identity: 'mine' }), /config\.json|moved/);
  assert.ok(existsSync(join(output, 'model.safetensors')) && existsSync(join(output, 'checkpoints', 'step-000010')));
  rmSync(join(output, 'config.json'), { recursive: true });
  assert.equal(await finishedRun(output, 'mine'), undefined);
  writeFileSync(join(finishedFolder(output), 'model.safetensors'), 'again');
  await finishRun(output, { identity: 'mine', result: {} });
  assert.equal(readFileSync(join(output, 'model.safetensors'), 'utf8'), 'again');
});

test('a folder of other things and a file are refused; what an interrupted write left is not', async () => {
  const output = join(folder, 'other');
  mkdirSync(output);
  writeFileSync(join(output, '.state.json.abc.tmp'), '');
  assert.equal(await finishedRun(output, 'mine'), undefined);
  writeFileSync(join(output, 'notes.txt'), '');
  await assert.rejects(finishedRun(output, 'mine'), /other: the folder holds other things \(notes\.txt\)/);
  await assert.rejects(finishedRun(join(output, 'notes.txt'), 'mine'), /notes\.txt is a file\. Name a folder/);
});

test('the folder that a failed run made is removed while it is empty; one that was there stays', async () => {
  const made = join(folder, 'a', 'b');
  await (await makeRunFolder(made))();
  assert.ok(!existsSync(made));
  mkdirSync(made);
  await (await makeRunFolder(made))();
  assert.ok(existsSync(made));
  const filled = join(folder, 'filled');
  const discard = await makeRunFolder(filled);
  writeFileSync(join(filled, 'x'), '');
  await discard();
  assert.ok(existsSync(join(filled, 'x')));
});

test('a loss is measured once for a run', async () => {
  const output = join(folder, 'measured');
  mkdirSync(output);
  assert.equal(await measureOnce(output, 'mine', async () => 1.5), 1.5);
  assert.equal(await measureOnce(output, 'mine', async () => 2.5), 1.5);
  assert.equal(await measureOnce(output, 'other', async () => 2.5), 2.5);
  assert.equal(await measureOnce(output, 'none', async () => undefined), undefined);
});
