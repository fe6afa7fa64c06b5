// Compiles src/ to dist/ (run by `npm ci` through the `prepare` script). Does nothing where the compiler is not installed,
// as in a package installed from the registry, which ships dist/ already.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, renameSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const compiler = `${root}node_modules/typescript/bin/tsc`;
if (existsSync(compiler)) {
  // Beside the last build until it is done: a program that starts meanwhile (the first npx builds, too) finds that one whole.
  const unfinished = `${root}node_modules/.azeotrope-${process.pid}`;
  const args = [compiler, '-p', 'tsconfig.build.json', '--outDir', unfinished];
  const result = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (result.status !== 0) {
    rmSync(unfinished, { recursive: true, force: true });
    process.exit(result.status ?? 1);
  }
  chmodSync(`${unfinished}/cli/main.js`, 0o755);
  rmSync(`${root}dist`, { recursive: true, force: true });
  renameSync(unfinished, `${root}dist`);
}
