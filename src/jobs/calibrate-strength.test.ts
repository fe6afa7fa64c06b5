import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { createDefence } from '../methods/antidistillation/defence.js';
import { ConfigError } from '../support/errors.js';
import { createRandom } from '../support/random.js';
import { calibrateStrength } from './calibrate-strength.js';
import { makeProxy } from './make-proxy.js';
import { openModel } from './open-model.js';
import { openProxy } from './open-proxy.js';
import { sampleRows } from './sample-rows.js';

const families = join(import.meta.dirname, '../../test/parity/golden/families');
const folder = mkdtempSync(join(tmpdir(), 'azeotrope-'));
const teacher = await openModel(join(families, 'qwen2'), { threads: 1 });
after(() => {
  teacher.dispose();
  rmSync(folder, { recursive: true });
});

const random = createRandom('rows');
const ids = (count: number) => Array.from({ length: count }, () => 3 + random.integer(57));
function rowsFile(name: string, rows: readonly object[]): string {
  const path = join(folder, name);
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return path;
}
const holdout = rowsFile(
  'holdout.jsonl',
  Array.from({ length: 8 }, (_, id) => ({ id, tokens: ids(20), responseStart: 4 })),
);
const prompts = rowsFile(
  'prompts.jsonl',
  Array.from({ length: 120 }, (_, id) => ({ id, tokens: ids(1 + (id % 9)) })),
);

const proxyFolder = join(folder, 'proxy');
const model = await openModel(join(families, 'llama3.2'), { compiler: teacher.model.compiler });
await makeProxy(model, { holdout, output: proxyFolder, microBatchTokens: 512 });
model.dispose();

describe('a strength from a budget', () => {
  test('holds within a fifth on prompts that the search did not see, and is noted with the proxy', async () => {
    const proxy = await openProxy(proxyFolder, teacher);
    const options = { input: prompts, folder: proxyFolder, maxTokens: 24, seed: 3, estimator: 'jvp' } as const;
    for (const budgetNats of [0.05, 0.4]) {
      const { heldOutNats, measuredNats, lambda } = await calibrateStrength(teacher, proxy, { ...options, budgetNats });
      assert.ok(Math.abs(measuredNats / budgetNats - 1) <= 0.03);
      assert.ok(Math.abs(heldOutNats / budgetNats - 1) <= 0.2, `${heldOutNats} of ${budgetNats}`);
      const { calibration } = JSON.parse(readFileSync(join(proxyFolder, 'proxy.json'), 'utf8'));
      assert.deepEqual([calibration.at(-1).lambda, calibration.at(-1).budgetNats], [lambda, budgetNats]);
    }
    proxy.dispose();
  });
});

describe('files of defended traces', () => {
  test('are continued under the same strength, and refused under another', async () => {
    const proxy = await openProxy(proxyFolder, teacher);
    const defence = createDefence(proxy.model, proxy.proxy, { estimator: 'jvp' });
    const output = join(folder, 'traces.jsonl');
    const sample = (lambda: number) =>
      sampleRows(teacher, {
        input: prompts,
        output,
        maxTokens: 4,
        defence: { processors: [defence.tilt(lambda)], companions: defence.companions },
      });
    const { numTraces } = await sample(0.05);
    assert.equal(numTraces, 120);
    assert.equal((await sample(0.05)).numTraces, 0);
    await assert.rejects(
      sample(0.06),
      (error) =>
        error instanceof ConfigError && /its sampler is .*"lambda":0\.05.*, now .*"lambda":0\.06/.test(error.message),
    );
    const [first] = readFileSync(output, 'utf8').split('\n');
    const { tokens, statistics } = JSON.parse(first);
    assert.deepEqual([statistics.delta.length, statistics.klNats.length], [tokens.length, tokens.length]);
    defence.dispose();
    proxy.dispose();
  });
});
