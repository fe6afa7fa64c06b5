// Checks that imports respect the architecture (docs/architecture.md): `npm run layers`. Each violation is told as file,
// import and rule. Type imports count; so do tests. A checkout other than this one may be named as the argument.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

// Which rooms of src/ a room may import, beside itself. Arrows point down only.
const ROOMS = {
  support: [],
  engine: ['support'],
  tokenizer: ['support'],
  model: ['engine', 'tokenizer', 'support'],
  inference: ['model', 'engine', 'tokenizer', 'support'],
  methods: ['training', 'inference', 'model', 'engine', 'tokenizer', 'support'],
  training: ['inference', 'model', 'engine', 'tokenizer', 'support'],
  tasks: ['support'],
  evaluation: ['inference', 'tasks', 'support'],
  jobs: ['evaluation', 'tasks', 'methods', 'training', 'inference', 'model', 'engine', 'tokenizer', 'support'],
  experiment: [
    ...['jobs', 'evaluation', 'tasks', 'methods', 'training', 'inference', 'model', 'engine', 'tokenizer', 'support'],
  ],
  report: ['experiment', 'evaluation', 'support'],
  cli: [
    'report',
    'experiment',
    'jobs',
    'evaluation',
    'tasks',
    'methods',
    'training',
    'inference',
    'model',
    'engine',
    'tokenizer',
    'support',
  ],
};

// The same inside engine/: what each folder may import of its neighbours; `types` means by `import type` only.
const ENGINE_ROOMS = {
  graph: {},
  autodiff: { graph: 'all' },
  onnx: { graph: 'all', runtime: 'types' },
  runtime: { graph: 'types' },
};

// The public surface: the only files that may gather exports of others. The package's users import them, src/ does not.
const PUBLIC_FILES = ['src/index.ts', 'src/engine/index.ts', 'src/inference/index.ts', 'src/training/index.ts'];

// Packages that only one folder may import: what is foreign stops at one boundary.
const BOUNDARIES = {
  'onnxruntime-node': 'src/engine/runtime/',
  'onnxruntime-common': 'src/engine/runtime/',
  koffi: 'src/engine/runtime/',
  commander: 'src/cli/',
  'cli-progress': 'src/cli/',
  hyparquet: 'src/tasks/datasets/',
  'hyparquet-compressors': 'src/tasks/datasets/',
  '@observablehq/plot': 'src/report/',
  linkedom: 'src/report/',
};

const root = resolve(process.argv[2] ?? fileURLToPath(new URL('..', import.meta.url)));
const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => `src/${name.split(sep).join('/')}`)
  .sort();
const importsOf = new Map(files.map((file) => [file, readImports(file)]));
const violations = [...files.flatMap((file) => [...checkPlace(file), ...checkImports(file)]), ...findCycles()];

if (violations.length > 0) {
  console.error(violations.join('\n'));
  console.error(`\n${violations.length} violation${violations.length > 1 ? 's' : ''} of docs/architecture.md.`);
  process.exit(1);
}
console.log(`${files.length} files keep the arrows of docs/architecture.md.`);

/** The imports of a file: { specifier, target (a path of this checkout, or undefined for a package), isType, isStar }. */
function readImports(file) {
  const text = readFileSync(join(root, file), 'utf8').replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
  const found = [];
  const statement = /^(import|export)\s(?:([^'"`;]*?)\sfrom\s)?['"]([^'"]+)['"]/gm;
  for (const [, keyword, clause = '', specifier] of text.matchAll(statement)) {
    const isType = /^type\b(?!\s*(,|from\b))/.test(clause.trim());
    found.push({ specifier, isType, isStar: keyword === 'export' && clause.trim().startsWith('*') });
  }
  for (const [, specifier] of text.matchAll(/\b(?:import|require|require\.resolve)\(\s*['"]([^'"]+)['"]/g)) {
    found.push({ specifier, isType: false, isStar: false });
  }
  return found.map((entry) => ({ ...entry, target: resolveTarget(file, entry.specifier) }));
}

function resolveTarget(file, specifier) {
  if (!specifier.startsWith('.')) return undefined;
  const path = posix.join(posix.dirname(file), specifier);
  const source = path.replace(/\.js$/, '.ts');
  return existsSync(join(root, source)) ? source : path;
}

function checkPlace(file) {
  const found = [];
  const room = roomOf(file);
  if (room !== undefined && !(room in ROOMS)) {
    found.push(
      `${file}: the room "${room}" has no row in ROOMS of scripts/check-layers.mjs. Decide what it may import.`,
    );
  }
  if (PUBLIC_FILES.includes(file)) return found;
  const rule = 'only the public index files gather exports. Import each thing from the file that defines it.';
  if (posix.basename(file) === 'index.ts') found.push(`${file}: an index file inside src/: ${rule}`);
  else if (isBarrel(file)) found.push(`${file}: holds nothing but exports of other files: ${rule}`);
  for (const { specifier, isStar } of importsOf.get(file)) {
    if (isStar) found.push(`${file}: export * from '${specifier}': ${rule}`);
  }
  return found;
}

/** True where every statement is an `export … from`. */
function isBarrel(file) {
  const text = readFileSync(join(root, file), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
  const rest = text.replace(/^export\s[^'"`;]*?\sfrom\s*['"][^'"]+['"];?/gm, '');
  return rest !== text && rest.trim() === '';
}

function checkImports(file) {
  const room = roomOf(file);
  return importsOf.get(file).flatMap(({ specifier, target, isType }) => {
    const told = (rule) => [`${file}: import '${specifier}': ${rule}`];
    if (target === undefined) {
      const name = specifier.startsWith('@') ? specifier.split('/').slice(0, 2).join('/') : specifier.split('/')[0];
      const place = BOUNDARIES[name];
      return place && !file.startsWith(place) ? told(`${name} is imported only in ${place}`) : [];
    }
    if (!target.startsWith('src/')) {
      return target === 'package.json' ? [] : told('src/ imports nothing outside src/');
    }
    const targetRoom = roomOf(target);
    if (PUBLIC_FILES.includes(target) && !PUBLIC_FILES.includes(file) && !file.endsWith('.test.ts')) {
      return told('the public index files are for the users of the package. Import the file that defines it.');
    }
    if (room === undefined || targetRoom === undefined) return []; // src/index.ts gathers from everywhere
    if (targetRoom !== room && !ROOMS[room]?.includes(targetRoom)) {
      const allowed = ROOMS[room]?.join(', ') || 'no other room';
      return told(`${room}/ may import ${allowed}; not ${targetRoom}/`);
    }
    if (room === 'methods' && targetRoom === 'methods' && methodOf(file) !== methodOf(target)) {
      return told('a method never imports another: what two share belongs in training/ or inference/');
    }
    if (room === 'engine' && targetRoom === 'engine') return checkEngine(file, target, isType).flatMap(told);
    return [];
  });
}

function checkEngine(file, target, isType) {
  const from = engineRoomOf(file);
  const to = engineRoomOf(target);
  if (from === undefined || from === to) return [];
  const permission = to === undefined ? undefined : ENGINE_ROOMS[from]?.[to];
  // A test may join what the product keeps apart: a gradient is checked by running it.
  if (permission === 'all' || /\.(test|fixture)\.ts$/.test(file)) return [];
  if (permission === 'types') {
    return isType ? [] : [`engine/${from}/ may import engine/${to}/ by \`import type\` only`];
  }
  const allowed = Object.keys(ENGINE_ROOMS[from] ?? {}).join(', ') || 'none of its neighbours';
  return [`engine/${from}/ may import ${allowed}; not engine/${to ?? posix.basename(target)}`];
}

/** The room of a file of src/; undefined for a file directly in src/. */
function roomOf(file) {
  const parts = file.split('/');
  return parts.length > 2 ? parts[1] : undefined;
}

/** The folder of engine/ that a file lies in; undefined for a file directly in engine/. */
function engineRoomOf(file) {
  const parts = file.split('/');
  return parts.length > 3 ? parts[2] : undefined;
}

/** The folder of methods/ that a file lies in. */
function methodOf(file) {
  return file.split('/')[2];
}

/** Each cycle between files once, by depth-first search. */
function findCycles() {
  const found = [];
  const done = new Set();
  const path = [];
  function visit(file) {
    if (done.has(file)) return;
    const start = path.indexOf(file);
    if (start >= 0) {
      found.push(
        `${[...path.slice(start), file].join(' → ')}: files import each other in a circle. Move what they share.`,
      );
      return;
    }
    path.push(file);
    for (const { target } of importsOf.get(file) ?? []) if (target) visit(target);
    path.pop();
    done.add(file);
  }
  for (const file of files) visit(file);
  return found;
}
