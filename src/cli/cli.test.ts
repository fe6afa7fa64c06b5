import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('./main.fixture.ts', import.meta.url));
const realProgram = fileURLToPath(new URL('./main.ts', import.meta.url));
const tsx = import.meta.resolve('tsx');
const isWindows = process.platform === 'win32';

function start(args: string[], main = program): ChildProcess {
  return spawn(process.execPath, ['--import', tsx, main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
}

async function finish(child: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const output = { stdout: '', stderr: '' };
  child.stdout!.setEncoding('utf8').on('data', (part) => (output.stdout += part));
  child.stderr!.setEncoding('utf8').on('data', (part) => (output.stderr += part));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, ...output };
}

const run = (...args: string[]) => finish(start(args));

test('a mistake on the command line exits with 2, tells it on standard error alone and shows no stack', async () => {
  const { code, stdout, stderr } = await run('echo', 'M', '--max-token', '5');
  assert.deepEqual({ code, stdout }, { code: 2, stdout: '' });
  assert.equal(
    stderr,
    "azeotrope: unknown option '--max-token'. Did you mean --max-tokens?\nSee: azeotrope echo --help\n",
  );
});

test("a command's own refusal exits with 2 without a stack, a bug with 1 and a stack, also one thrown later", async () => {
  const [user, bug, later] = await Promise.all(['user', 'bug', 'later'].map((how) => run('fail', '--how', how)));
  assert.deepEqual(user, { code: 2, stdout: '', stderr: 'azeotrope: rows.jsonl:3: the row has no "id". Add one.\n' });
  assert.equal(bug.code, 1);
  assert.match(bug.stderr, /bug in the program[\s\S]*TypeError: x is not a function\n\s+at /);
  assert.equal(later.code, 1);
  assert.match(later.stderr, /TypeError: thrown later\n\s+at /);
});

test('people read the text on standard output; under --json it holds one JSON value and nothing else', async () => {
  const [plain, json, quiet] = await Promise.all([
    run('echo', 'M'),
    run('echo', 'M', '--json'),
    run('echo', 'M', '--json', '--quiet'),
  ]);
  assert.equal(plain.stdout, 'text for people\n');
  assert.match(plain.stderr, /^a note\nechoing: 1\/1 rows/);
  assert.equal(json.stdout.trim().split('\n').length, 1);
  assert.equal(JSON.parse(json.stdout).config.model, 'M');
  assert.match(json.stderr, /a note\ntext for people\nechoing/);
  assert.deepEqual({ code: quiet.code, stderr: quiet.stderr }, { code: 0, stderr: '' });
});

test('help names commands, flags, units, defaults and an example, on standard output', async () => {
  const [none, command, word, version] = await Promise.all([
    run(),
    run('echo', '--help'),
    run('help', 'echo'),
    finish(start(['--version'], realProgram)),
  ]);
  assert.match(none.stdout, /echo .*Show the configuration/);
  assert.deepEqual([none.code, none.stderr], [0, '']);
  assert.equal(command.code, 0);
  const help = command.stdout.replaceAll(/\s+/g, ' ');
  for (const part of [
    'Usage: azeotrope echo [options] [model]',
    '--max-tokens <number> Most tokens to sample (in tokens; default: 256)',
    '--precision <text> Precision of the weights (float32 | bfloat16; default: float32)',
    '--stop <text> Text that ends a response (may be repeated)',
    '--no-shuffle Turn off: Shuffle the rows',
    '--threads <number> Threads that compute (default: chosen for this machine)',
    '--config <file>',
    'Examples: azeotrope echo M --max-tokens 5',
  ]) {
    assert.ok(help.includes(part), `${part}\n${command.stdout}`);
  }
  assert.equal(word.stdout, command.stdout);
  assert.match(version.stdout, /^\d+\.\d+\.\d+\n$/);
});

test('Ctrl-C stops cleanly, says how to continue and exits with 130; a second one ends at once', {
  skip: isWindows,
}, async () => {
  const interrupt = async (args: string[], numSignals: number) => {
    const child = start(args);
    let numSent = 0;
    child.stderr!.on('data', () => numSent++ < numSignals && child.kill('SIGINT'));
    const startMs = performance.now();
    const result = await finish(child);
    assert.ok(performance.now() - startMs < 15_000);
    return result;
  };
  const [once, twice] = await Promise.all([
    interrupt(['work', '--seed', '3'], 1),
    interrupt(['work', '--stubborn'], 2),
  ]);
  assert.equal(once.code, 130);
  assert.match(once.stderr, /Stopping[\s\S]*Stopped\. 12 rows are kept; to continue run: azeotrope work --seed 3\n$/);
  assert.equal(twice.code, 130);
  assert.doesNotMatch(twice.stderr, /Stopped/);
});

test('a reader that leaves early ends the program without a word', async () => {
  const child = start(['spill']);
  child.stdout!.once('data', () => child.stdout!.destroy());
  let stderr = '';
  child.stderr!.on('data', (part) => (stderr += part));
  const code = await new Promise((resolve) => child.on('exit', resolve));
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
});
