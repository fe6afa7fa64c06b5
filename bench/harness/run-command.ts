/** One measurement in a process of its own, so that threads, memory and the runtime's pools are its own. */
import { spawn } from 'node:child_process';
import { DataError } from '../../src/support/errors.js';
import { compiledMain } from './compile.js';
import type { Command, Sample } from './types.js';

const TIMEOUT_MS = 30 * 60_000;
const SHOWN_ERROR_LINES = 15;
/** As the program's first line asks of Node. */
const NODE_FLAGS = ['--max-semi-space-size=2'];

/** Runs a command and reads the JSON object it prints last. Errors: DataError with the end of what it wrote to stderr. */
export async function runCommand(command: Command, threads: number): Promise<Sample> {
  const [program, ...args] =
    command.kind === 'peer'
      ? command.command
      : [process.execPath, ...NODE_FLAGS, compiledMain(), 'measure', command.name, JSON.stringify(command.options)];
  const busy = command.isBeside === true ? startBusyProcess() : undefined;
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
    env: { ...process.env, OMP_NUM_THREADS: String(threads), TOKENIZERS_PARALLELISM: 'false', ...command.env },
  });
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  }).finally(() => busy?.kill());
  const line = output.trim().split('\n').at(-1) ?? '';
  if (code === 0 && line.startsWith('{')) return JSON.parse(line) as Sample;
  const tail = errors.trim().split('\n').slice(-SHOWN_ERROR_LINES).join('\n');
  throw new DataError(`${[program, ...args].join(' ')}\nended with ${code ?? 'a signal or the time limit'}.\n${tail}`);
}

/** Computes as long as this process lives, in a session of its own: systems that share a processor among sessions give it its part. */
function startBusyProcess(): ReturnType<typeof spawn> {
  return spawn(
    process.execPath,
    ['-e', 'const parent = process.ppid; while (process.ppid === parent) for (let i = 0; i < 1e7; i++);'],
    { stdio: 'ignore', detached: true },
  );
}
