/** The real program in a process of its own: the compiled one, as users run it; it starts in half the time of the sources. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { sha256 } from '../../src/support/hash.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Compiled states of the sources that are older are removed. */
const MAX_AGE_MS = 3_600_000;

/** Compiles src/ below node_modules, where its imports resolve; once for each state of the sources. Gives the path of main.js. */
function compile(): string {
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .sort();
  const state = sha256(sources.map((name) => `${name}\n${readFileSync(join(root, 'src', name), 'utf8')}`).join('\n'));
  const cache = join(root, 'node_modules', '.cache', 'azeotrope-tests');
  const folder = join(cache, state.slice(0, 16));
  if (!existsSync(folder)) {
    mkdirSync(cache, { recursive: true });
    const temporary = mkdtempSync(join(cache, 'making-'));
    const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const options = ['-p', join(root, 'tsconfig.build.json'), '--outDir', join(temporary, 'dist')];
    spawnSync(process.execPath, [compiler, ...options], { stdio: 'inherit' });
    cpSync(join(root, 'package.json'), join(temporary, 'package.json'));
    symlinkSync(join(root, 'kernels'), join(temporary, 'kernels'));
    try {
      renameSync(temporary, folder);
    } catch (error) {
      rmSync(temporary, { recursive: true });
      if (!existsSync(folder)) throw error; // else another test was first
    }
    for (const name of readdirSync(cache)) {
      const old = join(cache, name);
      if (Date.now() - statSync(old).mtimeMs > MAX_AGE_MS) rmSync(old, { recursive: true, force: true });
    }
  }
  return join(folder, 'dist', 'cli', 'main.js');
}

const program = compile();

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Shell command before the program, such as a limit. */
  readonly shell?: string;
}

export function start(args: readonly string[], { cwd, env, shell }: RunOptions = {}): ChildProcess {
  const options = {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'] as ['ignore', 'pipe', 'pipe'],
  };
  if (shell === undefined) return spawn(process.execPath, [program, ...args], options);
  return spawn('bash', ['-c', `${shell}; exec "$@"`, 'bash', process.execPath, program, ...args], options);
}

export async function finish(child: ChildProcess): Promise<Finished> {
  const output = { stdout: '', stderr: '' };
  child.stdout!.setEncoding('utf8').on('data', (part) => (output.stdout += part));
  child.stderr!.setEncoding('utf8').on('data', (part) => (output.stderr += part));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, ...output };
}

export const run = (args: readonly string[], options?: RunOptions): Promise<Finished> => finish(start(args, options));

/** Runs a command that must succeed. Gives what it printed as JSON. */
// biome-ignore lint/suspicious/noExplicitAny: each command has its own result
export async function runJson(args: readonly string[], options?: RunOptions): Promise<any> {
  const { code, stdout, stderr } = await run([...args, '--json'], options);
  if (code !== 0) throw new Error(`azeotrope ${args.join(' ')} ended with ${code}:\n${stderr}`);
  return JSON.parse(stdout);
}

/** Sends a signal as soon as the condition holds; looked at every few milliseconds. */
export async function interrupt(
  child: ChildProcess,
  signal: NodeJS.Signals,
  condition: () => boolean,
): Promise<Finished> {
  const timer = setInterval(() => {
    if (!condition()) return;
    clearInterval(timer);
    child.kill(signal);
  }, 2);
  try {
    return await finish(child);
  } finally {
    clearInterval(timer);
  }
}

/** A folder that is removed after the tests of this file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'azeotrope-end-to-end-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

// biome-ignore lint/suspicious/noExplicitAny: rows of every format
export type Row = any;

export function writeRows(path: string, rows: readonly Row[]): string {
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return path;
}

export const readRows = (path: string): Row[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

const families = join(root, 'test', 'parity', 'golden', 'families');

export const familyNames: readonly string[] = readdirSync(families).sort();

export const familyFolder = (name: string): string => join(families, name);

export interface Expected {
  readonly family: string;
  readonly rows: readonly {
    readonly id: string;
    readonly tokens: readonly number[];
    readonly logprobs: readonly (number | null)[];
    readonly topAt: readonly { readonly position: number; readonly top: readonly (readonly [number, number])[] }[];
  }[];
  readonly greedy: readonly { readonly prompt: readonly number[]; readonly tokens: readonly number[] }[];
}

export const expectedOf = (name: string): Expected =>
  JSON.parse(readFileSync(join(families, name, 'expected.json'), 'utf8'));
