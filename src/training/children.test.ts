/** What needs a process of its own: being killed, another number of threads, a fresh peak of memory. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openSafetensors } from '../model/files/safetensors.js';
import { relativeDifference } from './training.fixture.js';

const program = fileURLToPath(new URL('./main.fixture.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'training-test-'));
after(() => rmSync(folder, { recursive: true }));

const commandLine = (...args: string[]) => ['--import', 'tsx', program, ...args];

// biome-ignore lint/suspicious/noExplicitAny: what the fixture program says
function run(...args: string[]): any[] {
  const result = spawnSync(process.execPath, commandLine(...args), { encoding: 'utf8' });
  assert.equal(result.status, 0, result.stderr);
  return result.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** Kills the program without warning once it has said that a step is done. */
async function killAt(step: number, ...args: string[]): Promise<void> {
  const child = spawn(process.execPath, commandLine(...args), { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (chunk) => {
    said += chunk;
    if (said.includes(`"step":${step},`)) child.kill('SIGKILL');
  });
  const signal = await new Promise((resolve) => child.on('exit', (_, reason) => resolve(reason)));
  assert.equal(signal, 'SIGKILL', said);
}

test('killed in the middle, twice, and continued equals straight through, bit for bit', async () => {
  const straight = run('train', join(folder, 'straight'));
  const killed = join(folder, 'killed');
  await killAt(6, 'train', killed);
  await killAt(17, 'train', killed);
  const resumed = run('train', killed);
  assert.ok(resumed.some(({ notice }) => notice?.includes('Goes on from')));
  const steps = resumed.filter(({ step }) => step !== undefined);
  assert.ok(steps[0].step >= 17, `went on at step ${steps[0].step}`);
  assert.deepEqual(
    steps,
    straight.filter(({ step }) => step >= steps[0].step),
  );
  assert.equal(straight.at(-1).isComplete, true);
  assert.deepEqual(resumed.at(-1), straight.at(-1));
  assert.deepEqual(readdirSync(join(killed, 'checkpoints')), readdirSync(join(folder, 'straight', 'checkpoints')));
});

test('one and two threads agree in 50 repetitions where few tokens repeat often', () => {
  const [one, two] = ['1', '2'].map((threads) => {
    const file = join(folder, `gradients-${threads}`);
    const [{ worst }] = run('gradients', file, threads);
    assert.ok(worst < 1e-6, `${threads} threads: repetitions differ by ${worst}`);
    return openSafetensors(file);
  });
  for (const name of one.tensors.keys()) {
    const difference = relativeDifference(two.read(name), one.read(name));
    assert.ok(difference < 1e-6, `${name} differs by ${difference}`);
  }
  one.dispose();
  two.dispose();
});

test('computing activations twice lowers the peak of memory, and the estimate knows both', () => {
  const [kept] = run('memory', 'false');
  const [twice] = run('memory', 'true');
  assert.equal(twice.lossNats, kept.lossNats);
  const saved = kept.peakBytes - twice.peakBytes;
  // Eight layers' activations of 1,024 tokens are about 100 MB; all but one layer's and the residual stream go.
  assert.ok(saved > 40e6, `saved ${saved} of ${kept.peakBytes} bytes`);
  for (const { peakBytes, estimatedBytes } of [kept, twice])
    assert.ok(Math.abs(estimatedBytes / peakBytes - 1) < 1 / 3, `estimated ${estimatedBytes}, needed ${peakBytes}`);
});
