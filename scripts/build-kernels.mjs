// Compiles kernels/*.c to kernels/build/ with the system's C compiler (run by `npm ci` through the `prepare` script, or by hand).
// Never fails an installation: without a compiler, or where compiling fails, one line says so and the program runs on the
// portable path. The name of a file tells what it is compiled for: `…_amx.c`, `…_avx512.c`, `…_avx2.c`, others for any machine.
// Flags: --check exits 1 where the library cannot be built; --cflags="…" adds flags (sanitizers).
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('../kernels/', import.meta.url));
const build = `${folder}build/`;
const names = { linux: 'libazeotrope_kernels.so', darwin: 'libazeotrope_kernels.dylib' };
const mustWork = process.argv.includes('--check');
const extra = process.argv
  .filter((flag) => flag.startsWith('--cflags='))
  .flatMap((flag) => flag.slice('--cflags='.length).split(' ').filter(Boolean));

const WARNINGS = ['-Wall', '-Wextra', '-Wno-unused-parameter'];
// Sums may be reordered into vectors; not-a-numbers and infinities keep their meaning.
const ARITHMETIC = [
  '-fno-math-errno',
  '-fno-trapping-math',
  '-fassociative-math',
  '-fno-signed-zeros',
  '-freciprocal-math',
];
const AVX512 = [
  '-mavx512f',
  '-mavx512bw',
  '-mavx512vl',
  '-mavx512dq',
  '-mavx2',
  '-mfma',
  '-mbmi2',
  '-mprefer-vector-width=512',
];
const BY_SUFFIX = {
  amx: [
    ...AVX512,
    '-mavx512bf16',
    '-mavx512vbmi',
    '-mamx-tile',
    '-mamx-bf16',
    '-mamx-int8',
    '-mavx512vnni',
    '-mtune=sapphirerapids',
  ],
  avx512: [...AVX512, '-mtune=skylake-avx512'],
  avx2: ['-mavx2', '-mfma', '-mbmi2', '-mtune=haswell'],
};

const give_up = (reason) => {
  console.log(`kernels: not built (${reason}); the portable path is used`);
  process.exit(mustWork ? 1 : 0);
};

const output = names[process.platform];
if (!existsSync(folder) || output === undefined) give_up(`none for ${process.platform}`);
const cc = process.env.CC || 'cc';
if (spawnSync(cc, ['--version']).status !== 0) give_up(`no C compiler '${cc}'`);

const suffixOf = (file) => /_(amx|avx512|avx2)\.c$/.exec(file)?.[1];
const sources = readdirSync(folder)
  .filter((file) => file.endsWith('.c') && (suffixOf(file) === undefined || process.arch === 'x64'))
  .sort();
const headers = readdirSync(folder).filter((file) => file.endsWith('.h'));
const newest = (files) => Math.max(...files.map((file) => statSync(file).mtimeMs));
const headerTime = newest([...headers.map((file) => folder + file), fileURLToPath(import.meta.url)]);

mkdirSync(build, { recursive: true });
const started = Date.now();
const objects = [];
for (const file of sources) {
  const object = `${build}${file.slice(0, -2)}.o`;
  objects.push(object);
  const isFresh =
    existsSync(object) && statSync(object).mtimeMs > Math.max(headerTime, statSync(folder + file).mtimeMs);
  if (isFresh && extra.length === 0) continue;
  const suffix = suffixOf(file);
  const target = suffix === undefined ? [] : BY_SUFFIX[suffix];
  const flags = ['-std=gnu11', '-O3', '-fPIC', '-fvisibility=hidden', ...WARNINGS, ...ARITHMETIC, ...target, ...extra];
  const result = spawnSync(cc, [...flags, '-c', folder + file, '-o', object], { encoding: 'utf8' });
  if (result.stderr && mustWork) process.stderr.write(result.stderr);
  if (result.status !== 0) give_up(`${cc} refuses ${file}`);
}
// Linked under another name first: a process that has the library open keeps the old one.
const temporary = `${build}${process.pid}.tmp`;
const linked = spawnSync(cc, ['-shared', '-pthread', ...extra, '-o', temporary, ...objects, '-lm'], {
  encoding: 'utf8',
});
if (linked.status !== 0) give_up(`linking fails: ${linked.stderr.trim().split('\n')[0]}`);
renameSync(temporary, build + output);
console.log(`kernels: built in ${((Date.now() - started) / 1000).toFixed(1)} s`);
