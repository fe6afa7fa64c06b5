// Packs what dist/ holds, installs it into an empty folder as a user would, and uses it there: the program, every entry point, the
// types. Run after `npm run build`: node scripts/check-package.mjs.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const model = join(root, 'test/parity/golden/families/smollm2');
const folder = mkdtempSync(join(tmpdir(), 'azeotrope-package-'));

const ENTRY_POINTS = ['azeotrope', 'azeotrope/engine', 'azeotrope/inference', 'azeotrope/training'];

const USE = `
import { openModel } from 'azeotrope';
const { inspectModel, scoreRows } = await import('azeotrope');
for (const name of ${JSON.stringify(ENTRY_POINTS)}) {
  const numExports = Object.keys(await import(name)).length;
  if (numExports === 0) throw new Error(name + ' exports nothing');
}
const { numParameters } = await inspectModel(${JSON.stringify(model)});
const opened = await openModel(${JSON.stringify(model)}, { threads: 1 });
const { writeFileSync } = await import('node:fs');
writeFileSync('rows.jsonl', JSON.stringify({ id: 1, tokens: [5, 6, 7] }));
const { lossNats } = await scoreRows(opened, { input: 'rows.jsonl', output: 'scores.jsonl' });
opened.dispose();
if (!(numParameters > 0 && lossNats > 0)) throw new Error('no numbers: ' + numParameters + ', ' + lossNats);
`;

const TYPES = `
import { openModel, type OpenedModel, sampleRows } from 'azeotrope';
import * as engine from 'azeotrope/engine';
import * as inference from 'azeotrope/inference';
import * as training from 'azeotrope/training';
export const opened: OpenedModel = await openModel('folder', { threads: 2 });
export const numTraces: number = (await sampleRows(opened, { input: 'a', output: 'b', samples: 2 })).numTraces;
// @ts-expect-error a path is text
await openModel(5);
export const all = [engine, inference, training];
`;

const OPTIONS = {
  compilerOptions: {
    ...{ target: 'ES2023', module: 'NodeNext', moduleResolution: 'NodeNext', strict: true, noEmit: true },
    ...{ skipLibCheck: true, types: ['node'], typeRoots: [join(root, 'node_modules/@types')] },
  },
  files: ['types.ts'],
};

/** What the program prints; npm is a shell script on Windows. */
function run(command, args, { env, ...options } = {}) {
  const result = spawnSync(command, args, {
    ...{ cwd: folder, encoding: 'utf8', shell: process.platform === 'win32', ...options },
    // onnxruntime-node would fetch libraries for graphics cards that nothing here uses.
    env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip', ...env },
  });
  if (result.status === 0) return result.stdout.trim();
  throw new Error(`${command} ${args.join(' ')} ended with ${result.status}\n${result.stdout}${result.stderr}`);
}

/** The installed package scores rows with the kernels that are expected, or without. */
function checkKernels(expected) {
  const { kernels } = JSON.parse(
    run('npx', ['--no-install', 'azeotrope', 'doctor', '--json', '--no-measure', '--quiet']),
  );
  if (kernels.path !== expected) {
    throw new Error(`azeotrope doctor tells kernels ${kernels.path}, expected ${expected}: ${kernels.reason}`);
  }
  rmSync(join(folder, 'scores.jsonl'), { force: true }); // a score that is there is kept
  run(process.execPath, ['use.mjs']);
}

/** With what the installation compiled, without a compiler, and with a library that the package ships. */
function checkEveryPath() {
  const installed = join(folder, 'node_modules/azeotrope');
  const [build, shipped] = [join(installed, 'kernels/build'), join(installed, 'kernels/prebuilt')];
  const hasCompiler = spawnSync(process.env.CC || 'cc', ['--version']).status === 0 && process.platform !== 'win32';
  checkKernels(hasCompiler ? 'compiled' : 'absent');
  const compiled = join(folder, 'compiled');
  if (hasCompiler) renameSync(build, compiled);
  run(process.execPath, [join(installed, 'scripts/build-kernels.mjs')], { env: { CC: 'no-such-compiler' } });
  checkKernels('absent');
  if (!hasCompiler) return;
  mkdirSync(shipped, { recursive: true });
  renameSync(compiled, join(shipped, `${process.platform}-${process.arch}`));
  checkKernels('prebuilt');
}

try {
  if (!existsSync(join(root, 'dist/cli/main.js'))) throw new Error('There is no dist/. Run npm run build first.');
  const [{ filename, files }] = JSON.parse(
    run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], { cwd: root }),
  );
  const strays = files
    .map(({ path }) => path)
    .filter((path) => /\.(test|fixture)\.|^(src|test|bench|kernels\/(test|build))\//.test(path));
  if (strays.length > 0) throw new Error(`The package holds what only tests need: ${strays.join(', ')}`);
  writeFileSync(join(folder, 'package.json'), '{ "name": "empty", "private": true, "type": "module" }\n');
  run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', `./${filename}`]);

  const version = run('npx', ['--no-install', 'azeotrope', '--version']);
  if (!/^\d+\.\d+\.\d+$/.test(version)) throw new Error(`azeotrope --version printed ${version}`);
  const inspection = run('npx', ['--no-install', 'azeotrope', 'inspect', model]);
  if (!/^family +llama$/m.test(inspection)) throw new Error(`azeotrope inspect printed:\n${inspection}`);
  writeFileSync(join(folder, 'use.mjs'), USE);
  checkEveryPath();
  writeFileSync(join(folder, 'types.ts'), TYPES);
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(OPTIONS));
  run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', '.']);
  console.log(`${filename}: installs, runs with every kind of kernels and has its types (${files.length} files).`);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
