/** Kernels outside ONNX Runtime (kernels/test/): under sanitizers here, and under an emulator for another processor. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
// Lines are all that a report needs; compiling with -g takes a third longer.
const SANITIZERS = ['-O1', '-g1', '-fsanitize=address,undefined', '-fno-sanitize-recover=undefined'];

interface Finished {
  readonly status: number | null;
  readonly output: string;
}

function run(command: string, args: readonly string[], env: Record<string, string> = {}): Promise<Finished> {
  const child = spawn(command, args, { cwd: root, env: { ...process.env, ...env } });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (part) => (output += part));
  return new Promise((settle) => {
    child.on('error', (error) => settle({ status: null, output: error.message }));
    child.on('close', (status) => settle({ status, output }));
  });
}

const isFound = (command: string) => spawnSync(command, ['--version']).status === 0;

/** Whether a program compiled with these flags compiles, links and runs. */
function canCompile(cc: string, flags: readonly string[]): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'azeotrope-cc-'));
  try {
    const [source, program] = [join(folder, 'a.c'), join(folder, 'a.out')];
    writeFileSync(source, 'int main(void) { return 0; }\n');
    return spawnSync(cc, [...flags, source, '-o', program]).status === 0 && spawnSync(program).status === 0;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Builds the tests and runs them; each of their lines becomes a subtest. */
async function runKernelTests(
  t: TestContext,
  name: string,
  { cc, flags = [], emulator }: { cc: string; flags?: readonly string[]; emulator?: string },
): Promise<void> {
  const output = join(root, 'kernels/build', name);
  const extra = flags.length === 0 ? [] : [`--cflags=${flags.join(' ')}`];
  const args = ['scripts/build-kernels.mjs', '--tests', '--check', `--output=${output}`, ...extra];
  const built = await run(process.execPath, args, { CC: cc });
  assert.equal(built.status, 0, built.output);
  const program = join(output, 'kernel-tests');
  const tested = await (emulator === undefined ? run(program, []) : run(emulator, ['-cpu', 'max', program]));
  const results = [...tested.output.matchAll(/^(pass|fail|skip) (.*)$/gm)];
  for (const [, result, title] of results) {
    await t.test(title, { skip: result === 'skip' && 'this processor lacks the instructions' }, () => {
      assert.equal(result, 'pass', tested.output);
    });
  }
  assert.equal(tested.status, 0, tested.output);
  assert.ok(results.length > 10, tested.output);
}

const cc = process.env.CC || 'cc';
const isBuilt = existsSync(join(root, 'kernels')) && process.platform !== 'win32' && isFound(cc);
const CROSS = 'aarch64-linux-gnu-gcc';
const EMULATOR = 'qemu-aarch64';

describe('kernels outside the runtime', { concurrency: availableParallelism() }, () => {
  test(
    'kernels keep to their memory and to defined behaviour, and compute what float64 does',
    {
      skip: isBuilt && canCompile(cc, SANITIZERS) ? false : `${cc} with -fsanitize=address,undefined is not to be had`,
    },
    (t) => runKernelTests(t, 'tests', { cc, flags: SANITIZERS }),
  );

  test(
    'kernels as they are built for use compute what float64 does',
    { skip: isBuilt ? false : `there is no C compiler ${cc}` },
    (t) => runKernelTests(t, '.', { cc }), // on the objects of the library
  );

  test(
    'kernels compute the same on a 64-bit ARM processor',
    {
      skip: isFound(CROSS) && isFound(EMULATOR) ? false : `${CROSS} or ${EMULATOR} is not installed`,
    },
    (t) => runKernelTests(t, 'tests-aarch64', { cc: CROSS, flags: ['-O2', '-static'], emulator: EMULATOR }),
  );
});
