import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../scripts/check-layers.mjs', import.meta.url));

/** Runs the check on a checkout made of these files. */
function check(files: Record<string, string>): { status: number | null; output: string } {
  const root = mkdtempSync(join(tmpdir(), 'azeotrope-layers-'));
  try {
    for (const [name, content] of Object.entries(files)) {
      const path = join(root, 'src', name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content);
    }
    const { status, stdout, stderr } = spawnSync(process.execPath, [script, root], { encoding: 'utf8' });
    return { status, output: stdout + stderr };
  } finally {
    rmSync(root, { recursive: true });
  }
}

const sound = {
  'support/errors.ts': 'export const a = 1;\n',
  'engine/graph/types.ts': "import { a } from '../../support/errors.js';\nexport type G = typeof a;\n",
  'engine/graph/build.ts': "import type { G } from './types.js';\nexport const g: G = 1;\n",
  'engine/autodiff/reverse.ts': "import { g } from '../graph/build.js';\nexport const r = g;\n",
  'engine/runtime/run.ts':
    "import koffi from 'koffi';\nimport type { G } from '../graph/types.js';\nexport const k: G = koffi;\n",
  'engine/index.ts': "export * from './graph/build.js';\nexport { r } from './autodiff/reverse.js';\n",
  'cli/main.ts': "// import '../elsewhere.js'\nexport const load = () => import('../engine/graph/build.js');\n",
  'index.ts': "export { a } from './support/errors.js';\n",
};

test('a sound tree passes: down, within a room, types of the graph, packages at their boundary, public index files', () => {
  assert.deepEqual(check(sound), { status: 0, output: '8 files keep the arrows of docs/architecture.md.\n' });
});

const unsound: [rule: string, files: Record<string, string>, told: RegExp][] = [
  [
    'an import that points up',
    { 'support/bad.ts': "import { g } from '../engine/graph/build.js';\nexport const b = g;\n" },
    /^src\/support\/bad\.ts: import '\.\.\/engine\/graph\/build\.js': support\/ may import no other room; not engine\//,
  ],
  [
    'a type import that points up',
    {
      'engine/bad.ts': "import type { M } from '../model/m.js';\nexport type B = M;\n",
      'model/m.ts': 'export type M = 1;\n',
    },
    /src\/engine\/bad\.ts.*not model\//,
  ],
  [
    'an import over several lines',
    { 'support/bad.ts': "import {\n  g,\n} from '../engine/graph/build.js';\nexport const b = g;\n" },
    /not engine\//,
  ],
  [
    'a dynamic import that points up',
    { 'support/bad.ts': "export const b = () => import('../engine/graph/build.js');\n" },
    /not engine\//,
  ],
  ['an import of cli', { 'training/bad.ts': "import '../cli/main.js';\n" }, /training\/ may import .*; not cli\//],
  [
    'a method that imports another',
    {
      'methods/a/x.ts': 'export const x = 1;\n',
      'methods/b/y.ts': "import { x } from '../a/x.js';\nexport const y = x;\n",
    },
    /src\/methods\/b\/y\.ts: .*a method never imports another/,
  ],
  [
    'a neighbour inside the engine',
    { 'engine/onnx/bad.ts': "import { r } from '../autodiff/reverse.js';\nexport const b = r;\n" },
    /engine\/onnx\/ may import graph, runtime; not engine\/autodiff/,
  ],
  [
    'a value of the graph in the runtime',
    { 'engine/runtime/bad.ts': "import { g } from '../graph/build.js';\nexport const b = g;\n" },
    /`import type` only/,
  ],
  [
    'onnxruntime elsewhere',
    { 'engine/onnx/bad.ts': "import * as o from 'onnxruntime-node';\nexport const b = o;\n" },
    /onnxruntime-node is imported only in src\/engine\/runtime\//,
  ],
  [
    'a circle of type imports',
    {
      'support/x.ts': "import type { Y } from './y.js';\nexport type X = Y;\n",
      'support/y.ts': "import type { X } from './x.js';\nexport type Y = X;\n",
    },
    /src\/support\/x\.ts → src\/support\/y\.ts → src\/support\/x\.ts: /,
  ],
  ['an index file', { 'model/index.ts': 'export const b = 1;\n' }, /src\/model\/index\.ts: an index file/],
  [
    'a file of nothing but exports',
    { 'model/all.ts': "export { a } from '../support/errors.js';\n" },
    /src\/model\/all\.ts: holds nothing but/,
  ],
  [
    'export *',
    { 'model/star.ts': "export * from '../support/errors.js';\nexport const b = 1;\n" },
    /src\/model\/star\.ts: export \* from/,
  ],
  [
    'the public surface from inside',
    { 'model/bad.ts': "import { r } from '../engine/index.js';\nexport const b = r;\n" },
    /for the users of the package/,
  ],
  ['a room without a row', { 'attic/old.ts': 'export const b = 1;\n' }, /the room "attic" has no row/],
  ['something outside src', { 'support/bad.ts': "import '../../bench/main.js';\n" }, /nothing outside src/],
];

for (const [rule, files, told] of unsound) {
  test(`told and refused: ${rule}`, () => {
    const { status, output } = check({ ...sound, ...files });
    assert.equal(status, 1);
    assert.match(output, told);
    assert.match(output, /\n1 violation of/);
  });
}
