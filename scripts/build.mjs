// Compiles src/ to dist/ (run by `npm ci` through the `prepare` script). Does nothing where the compiler is not installed,
// as in a package installed from the registry, which ships dist/ already.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const compiler = `${root}node_modules/typescript/bin/tsc`;
if (existsSync(compiler)) {
  rmSync(`${root}dist`, { recursive: true, force: true });
  const result = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' });
  if (result.status !== 0) process.exit(result.status ?? 1);
  chmodSync(`${root}dist/cli/main.js`, 0o755);
}
