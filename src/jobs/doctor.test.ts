import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Diagnosis, examine } from './doctor.js';

const program = fileURLToPath(new URL('../cli/main.ts', import.meta.url));

function run(args: string[], env: Record<string, string>): { stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', import.meta.resolve('tsx'), program, 'doctor', ...args],
    { encoding: 'utf8', env: { ...process.env, ...env } },
  );
  assert.equal(status, 0, stderr);
  return { stdout, stderr };
}

const asJson = (env: Record<string, string>) =>
  JSON.parse(run(['--json', '--no-measure', '--threads', '1'], env).stdout) as Diagnosis;

test('versions, threads and memory are those of this process', async () => {
  const { versions, machine, runtime, rates } = await examine({ threads: 1, measure: false });
  assert.equal(versions.node, process.versions.node);
  for (const name of ['azeotrope', 'ONNX Runtime', 'onnxruntime-node', 'koffi']) {
    assert.match(versions[name], /^\d+\.\d+\.\d+/, name);
  }
  assert.ok(machine.memoryBytes >= machine.freeMemoryBytes && machine.freeMemoryBytes > 0);
  assert.equal(runtime.threads, 1);
  assert.equal(rates, null);
});

test('rates are of the order of what a processor can do', async () => {
  const { rates } = await examine({ threads: 1, seconds: 0.05, size: 256 });
  assert.ok(rates !== null);
  for (const rate of [rates.float32Gflops, rates.bfloat16Gflops ?? 1]) assert.ok(rate > 0.5 && rate < 1e5, `${rate}`);
  assert.ok(rates.memoryGigabytesPerSecond > 0.5 && rates.memoryGigabytesPerSecond < 1e4);
});

describe('the path in use is told with its reason', () => {
  test('kernels that were switched off are absent, and bfloat16 is float32 then', () => {
    const { kernels, bfloat16, hasBlocks } = asJson({ AZEOTROPE_KERNELS: 'none' });
    assert.deepEqual([kernels.path, kernels.level, kernels.numOps], ['absent', 'none', 0]);
    assert.equal(kernels.reason, 'AZEOTROPE_KERNELS=none');
    assert.equal(bfloat16, 'float32');
    assert.equal(hasBlocks, false);
  });

  test('a lower level is in use where it is asked for', () => {
    const { kernels } = asJson({ AZEOTROPE_KERNELS: 'portable' });
    if (kernels.path === 'absent') assert.ok(kernels.reason);
    else assert.deepEqual([kernels.level, kernels.reason], ['portable', 'AZEOTROPE_KERNELS=portable']);
  });

  test('the stock binding says that it has no kernels, in text for people too', () => {
    const env = { AZEOTROPE_RUNTIME: 'stock', CC: 'no-such-compiler' };
    const { runtime, kernels } = asJson(env);
    assert.deepEqual([runtime.kind, kernels.path, kernels.compiler], ['stock', 'absent', null]);
    const { stdout } = run(['--no-measure'], env);
    assert.match(stdout, /^runtime +ONNX Runtime through its stock binding$/m);
    assert.match(stdout, /^kernels +none: the stock binding cannot load kernels$/m);
    assert.match(stdout, /no C compiler is found/);
  });
});
