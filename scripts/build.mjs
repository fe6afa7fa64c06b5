// Compiles src/ to dist/ (run by `npm ci` through the `prepare` script). Does nothing where the compiler is not installed,
// as in a package installed from the registry, which ships dist/ already.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, renameSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const compiler = `${root}node_modules/typescript/bin/tsc`;
const built = `${root}dist`;
// In the folder of dist/, as node_modules/ may be on another file system.
const unfinished = `${root}.dist-${process.pid}`;
const replaced = `${unfinished}-replaced`;

const remove = (folder) => rmSync(folder, { recursive: true, force: true });

/** Whether the renaming was done; not where `code` is one of these. */
function rename(from, to, codes) {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (codes.includes(error.code)) return false;
    throw error;
  }
}

/** What renaming a folder to one that is there gives, on Windows the last. */
const IS_THERE = ['ENOTEMPTY', 'EEXIST', 'EPERM'];
const MOST_TRIES = 100;

/** The last build stays whole until the new one takes its place: between two renamings alone there is none. */
function replace() {
  for (let tries = 1; ; tries++) {
    // A folder of a container's image cannot be renamed (EXDEV).
    if (!rename(built, replaced, ['ENOENT', 'EXDEV'])) remove(built);
    // Another build may have put its own there meanwhile: that one is replaced, too.
    if (rename(unfinished, built, tries < MOST_TRIES ? IS_THERE : [])) return;
    remove(replaced);
  }
}

if (existsSync(compiler)) {
  try {
    const args = [compiler, '-p', 'tsconfig.build.json', '--outDir', unfinished];
    const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
    process.exitCode = status ?? 1;
    if (status === 0) {
      chmodSync(`${unfinished}/cli/main.js`, 0o755);
      replace();
    }
  } finally {
    if (!existsSync(built)) rename(replaced, built, ['ENOENT', ...IS_THERE]);
    remove(unfinished);
    remove(replaced);
  }
}
