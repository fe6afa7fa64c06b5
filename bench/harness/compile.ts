/** Measurements run as a user's program does, as compiled JavaScript: the loader of TypeScript takes 35 MB and slows loading. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { DataError } from '../../src/support/errors.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const COMPILED = `${ROOT}.cache/bench`;
/** What compiled files look for beside `src/` and `bench/`. */
const LINKED = ['package.json', 'kernels', 'scripts', 'checkpoints', 'recipes', 'test'];

let main: string | undefined;

/** Compiles `src/` and `bench/` at the first call. Returns the compiled `main.ts`. Errors: DataError with what the compiler says. */
export function compiledMain(): string {
  main ??= compile();
  return main;
}

function compile(): string {
  rmSync(COMPILED, { recursive: true, force: true });
  mkdirSync(COMPILED, { recursive: true });
  for (const name of LINKED) if (existsSync(ROOT + name)) symlinkSync(ROOT + name, `${COMPILED}/${name}`);
  const compiler = `${ROOT}node_modules/typescript/bin/tsc`;
  const args = [compiler, '-p', 'bench/tsconfig.json', '--outDir', COMPILED];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' });
  if (status !== 0) throw new DataError(`bench/ does not compile:\n${stdout}${stderr}`);
  return `${COMPILED}/bench/main.js`;
}
