// Runs the test suite: every *.test.ts under src/, bench/ and test/, or the files and folders given as arguments.
// Node 20's own runner does not find TypeScript files, so the list is made here.
import { spawnSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const flags = process.argv.slice(2).filter((argument) => argument.startsWith('--'));
const places = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));

function testFiles(place) {
  if (statSync(place).isFile()) return [place];
  return readdirSync(place, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts') && !name.includes('node_modules'))
    .sort()
    .map((name) => join(place, name));
}

// The longest files stand first, so that no core waits for them at the end.
const files = (places.length > 0 ? places : ['test', 'src', 'bench']).flatMap((place) => testFiles(join(root, place)));
if (files.length === 0) {
  console.error(`No *.test.ts file under ${places.join(', ')}.`);
  process.exit(1);
}
const result = spawnSync(
  process.execPath,
  ['--import', 'tsx', '--test', `--test-concurrency=${availableParallelism()}`, ...flags, ...files],
  { cwd: root, stdio: 'inherit' },
);
process.exit(result.status ?? 1);
