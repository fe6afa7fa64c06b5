// Compiles kernels/*.c to kernels/build/ with the system's C compiler (run by `npm ci` through the `postinstall` script, or by hand).
// Never fails an installation: without a compiler, or where compiling fails, one line says so and the program runs with the
// library that the package ships for this platform (kernels/prebuilt/<platform>-<arch>/), or on the portable path.
// The name of a file tells what it is compiled for: `…_each.c` for every instruction set, each with a table of its own, `…_half.c`
// (bfloat16) for AVX-512 with bfloat16 and for matrix units too; `…_amx.c` for matrix units alone; others for any machine. CC names the
// compiler; a cross compiler builds for its own target.
// Flags: --check exits 1 where the library cannot be built; --output=DIR builds there; --cflags="…" adds flags (sanitizers);
// --tests builds DIR/kernel-tests from kernels/test/*.c instead of a library; --prebuilt also puts the library where a package ships
// it for the compiler's target.
import { spawn, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const given = (flag) => process.argv.find((text) => text.startsWith(`--${flag}=`))?.slice(flag.length + 3);
const folder = fileURLToPath(new URL('../kernels/', import.meta.url));
const output = `${resolve(given('output') ?? `${folder}build`)}/`;
const mustWork = process.argv.includes('--check');
const isTest = process.argv.includes('--tests');
const extra = (given('cflags') ?? '').split(' ').filter(Boolean);

const WARNINGS = ['-Wall', '-Wextra', '-Wno-unused-parameter'];
// Not-a-numbers and infinities keep their meaning.
const ARITHMETIC = ['-fno-math-errno', '-fno-trapping-math', '-ffp-contract=fast'];
// One rounding only where the source says so: what compilers join differs from one instruction set to the next.
const AS_WRITTEN = ['-ffp-contract=off'];
// Sums may be reordered into vectors; not in files that promise the same bits on every instruction set.
const REORDERING = ['-fassociative-math', '-fno-signed-zeros', '-freciprocal-math'];
const AVX512 = [
  ...['-mavx512f', '-mavx512bw', '-mavx512vl', '-mavx512dq', '-mavx2', '-mfma', '-mbmi2'],
  '-mprefer-vector-width=512',
];
const BY_LEVEL = {
  amx: [
    ...AVX512,
    ...['-mavx512bf16', '-mavx512vbmi', '-mamx-tile', '-mamx-bf16', '-mamx-int8', '-mavx512vnni'],
    '-mtune=sapphirerapids',
  ],
  avx512bf16: [...AVX512, '-mavx512bf16', '-mtune=skylake-avx512'],
  avx512: [...AVX512, '-mtune=skylake-avx512'],
  avx2: ['-mavx2', '-mfma', '-mbmi2', '-mf16c', '-mtune=haswell'],
  portable: [],
};

// Sanitizers take minutes to compile a file whose functions of vectors are written out wherever they are called: with them these are
// functions as others.
const CALLED = extra.some((flag) => flag.startsWith('-fsanitize')) ? ['-DINLINE=static inline'] : [];

const giveUp = (reason) => {
  console.log(`kernels: not built (${reason}); a prebuilt library or the portable path is used`);
  process.exit(mustWork ? 1 : 0);
};

const name = { linux: 'libazeotrope_kernels.so', darwin: 'libazeotrope_kernels.dylib' }[process.platform];
if (!existsSync(folder) || name === undefined) giveUp(`none for ${process.platform}`);
const cc = process.env.CC || 'cc';
const { status, stdout: version } = spawnSync(cc, ['--version'], { encoding: 'utf8' });
if (status !== 0) giveUp(`no C compiler '${cc}'`);
const machine = spawnSync(cc, ['-dumpmachine'], { encoding: 'utf8' }).stdout.trim();
const isX64 = /^(x86_64|amd64)/.test(machine);

/** What a file is compiled to: once, once a level, or not at all on this machine. */
function objectsOf(file) {
  const suffix = /_(amx|half|each)\.c$/.exec(file)?.[1];
  const stem = file.slice(0, -2).replaceAll('/', '_');
  if (suffix === undefined) return [{ file, object: `${output}${stem}.o`, flags: REORDERING }];
  if (suffix === 'amx') return isX64 ? [{ file, object: `${output}${stem}.o`, flags: BY_LEVEL.amx }] : [];
  const onHalf = suffix === 'half' ? ['avx512bf16', 'amx'] : [];
  const levels = isX64 ? ['portable', 'avx2', 'avx512', ...onHalf] : ['portable'];
  const rounding = suffix === 'each' ? AS_WRITTEN : [];
  return levels.map((level) => ({
    file,
    object: `${output}${stem}.${level}.o`,
    flags: [...BY_LEVEL[level], ...rounding, `-DAZ_EACH=${level}`],
  }));
}

const sourcesIn = (place) => readdirSync(folder + place).filter((file) => file.endsWith('.c'));
// The tests' harness stands in for what talks to the runtime.
const STOOD_IN = ['registry.c', 'scratch.c'];
const files = isTest
  ? [...sourcesIn('').filter((file) => !STOOD_IN.includes(file)), ...sourcesIn('test').map((file) => `test/${file}`)]
  : sourcesIn('');
const common = [
  '-std=gnu11',
  '-O3',
  '-fPIC',
  '-fvisibility=hidden',
  ...WARNINGS,
  ...ARITHMETIC,
  ...extra,
  ...CALLED,
  `-I${folder}`,
];
const objects = files.flatMap(objectsOf);

// Objects are kept while nothing they are made from changed: sources, headers, this file, the compiler, the flags.
mkdirSync(output, { recursive: true });
const recipePath = `${output}recipes`;
const known = existsSync(recipePath) ? JSON.parse(readFileSync(recipePath, 'utf8')) : {};
/** What an object was made with. */
const recipeOf = ({ flags }) => [version, ...common, ...flags].join(' ');
const headers = ['', ...(isTest ? ['test/'] : [])].flatMap((place) =>
  readdirSync(folder + place).flatMap((file) => (file.endsWith('.h') ? [folder + place + file] : [])),
);
const timeOf = (path) => statSync(path).mtimeMs;
const headerTime = Math.max(...[...headers, fileURLToPath(import.meta.url)].map(timeOf));
const isFresh = ({ file, object, flags }) =>
  known[basename(object)] === recipeOf({ flags }) &&
  existsSync(object) &&
  timeOf(object) > Math.max(headerTime, timeOf(folder + file));

/** Resolves to what is wrong, or nothing. */
function compile({ file, object, flags }) {
  const unfinished = `${object}.${process.pid}`; // another build may run beside this one
  const child = spawn(cc, [...common, ...flags, '-c', folder + file, '-o', unfinished]);
  let text = '';
  child.stderr.setEncoding('utf8').on('data', (part) => (text += part));
  return new Promise((settle) => {
    child.on('error', (error) => settle(error.message));
    child.on('close', (code) => {
      if (text && mustWork) process.stderr.write(text);
      if (code === 0) renameSync(unfinished, object);
      settle(code === 0 ? undefined : `${cc} refuses ${file}`);
    });
  });
}

const started = Date.now();
const waiting = objects.filter((object) => !isFresh(object));
const failures = [];
await Promise.all(
  Array.from({ length: availableParallelism() }, async () => {
    while (waiting.length > 0 && failures.length === 0) {
      const failure = await compile(waiting.shift());
      if (failure !== undefined) failures.push(failure);
    }
  }),
);
if (failures.length > 0) giveUp(failures[0]);

// Linked under another name first: a process that has the library open keeps the old one.
const temporary = `${output}${process.pid}.tmp`;
const linked = spawnSync(
  cc,
  [
    ...(isTest ? [] : ['-shared']),
    '-pthread',
    ...extra,
    '-o',
    temporary,
    ...objects.map(({ object }) => object),
    '-lm',
  ],
  { encoding: 'utf8' },
);
if (linked.status !== 0) giveUp(`linking fails: ${linked.stderr.trim().split('\n')[0]}`);
renameSync(temporary, output + (isTest ? 'kernel-tests' : name));
const made = Object.fromEntries(objects.map((each) => [basename(each.object), recipeOf(each)]));
writeFileSync(recipePath, JSON.stringify({ ...known, ...made }));
if (process.argv.includes('--prebuilt')) {
  const arch = { x86_64: 'x64', amd64: 'x64', aarch64: 'arm64', arm64: 'arm64' }[machine.split('-')[0]];
  if (arch === undefined) giveUp(`no name for the target ${machine}`);
  const shipped = `${folder}prebuilt/${process.platform}-${arch}/`;
  mkdirSync(shipped, { recursive: true });
  copyFileSync(output + name, shipped + name);
}
console.log(`kernels: built in ${((Date.now() - started) / 1000).toFixed(1)} s for ${machine}`);
