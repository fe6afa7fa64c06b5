import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { ModelLoadError } from '../../support/errors.js';
import { openSafetensors } from './safetensors.js';
import { openShards } from './safetensors-shards.js';
import { writeSafetensors } from './safetensors-write.js';

const golden = (name: string) => fileURLToPath(new URL(`../../../test/parity/golden/files/${name}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'safetensors-test-'));
after(() => rmSync(folder, { recursive: true }));
const { bits, narrowed } = JSON.parse(readFileSync(golden('halves.expected.json'), 'utf8'));

let numCrafted = 0;

/** A file with this header (as JSON or text) and this many bytes of data. */
function craft(header: unknown, dataBytes: number, headerBytes?: bigint): string {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header), 'latin1');
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(headerBytes ?? BigInt(text.length));
  const path = join(folder, `crafted-${numCrafted++}.safetensors`);
  writeFileSync(path, Buffer.concat([prefix, text, Buffer.alloc(dataBytes)]));
  return path;
}

const sameBits = (values: Float32Array, expected: readonly number[]) => {
  const got = new Int32Array(values.buffer, values.byteOffset, values.length);
  assert.equal(got.length, expected.length);
  const isNan = (pattern: number) => (pattern & 0x7fffffff) > 0x7f800000;
  for (let at = 0; at < got.length; at++)
    assert.ok(
      got[at] === expected[at] || (isNan(got[at]) && isNan(expected[at])),
      `value ${at}: ${got[at]} for ${expected[at]}`,
    );
};

test('float16, bfloat16 and float32 are widened as torch does: subnormals, infinities, NaN', () => {
  const file = openSafetensors(golden('halves.safetensors'));
  assert.deepEqual(file.metadata, { format: 'pt', note: 'ünï' });
  assert.deepEqual(file.tensors.get('half')!.shape, [4, 5]);
  for (const name of ['half', 'brain', 'single']) sameBits(file.read(name), bits[name]);
  assert.throws(() => file.read('integers'), /tensor integers is I64; weights must be F32, F16 or BF16/);
  file.dispose();
});

test('narrowing rounds as torch does: ties to even, overflow to infinity, subnormals', async () => {
  const values = new Float32Array(new Int32Array(narrowed.values).buffer);
  for (const [dtype, key] of [
    ['F16', 'half'],
    ['BF16', 'brain'],
  ] as const) {
    const path = join(folder, `${key}.safetensors`);
    await writeSafetensors(path, [{ name: 'x', shape: [values.length], values }], { dtype });
    const written = readFileSync(path);
    const stored = openSafetensors(path).tensors.get('x')!;
    const got = Array.from(narrowed[key], (_, index) => written.readUInt16LE(stored.offset + index * 2));
    assert.deepEqual(got, narrowed[key], dtype);
  }
});

test('what is written is read back unchanged, with the data at a multiple of 8 bytes', async () => {
  const shape = fc.array(fc.nat(4), { maxLength: 3 });
  const name = fc.oneof(fc.string({ minLength: 1, maxLength: 8 }), fc.constant('__proto__'));
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.tuple(name, shape), { selector: ([key]) => key, maxLength: 4 }),
      async (specs) => {
        const path = join(folder, 'round-trip.safetensors');
        const tensors = specs
          .filter(([key]) => key !== '__metadata__')
          .map(([key, extents], at) => {
            const size = extents.reduce((product, extent) => product * extent, 1);
            return {
              name: key,
              shape: extents,
              values: Float32Array.from({ length: size }, (_, index) => index - at / 3),
            };
          });
        await writeSafetensors(path, tensors);
        const file = openSafetensors(path);
        assert.deepEqual([...file.tensors.keys()].sort(), tensors.map(({ name: key }) => key).sort());
        for (const { name: key, shape: extents, values } of tensors) {
          assert.deepEqual(file.tensors.get(key)!.shape, extents);
          assert.deepEqual(file.read(key), values);
        }
        assert.equal(readFileSync(path).readUInt32LE(0) % 8, 0);
        file.dispose();
      },
    ),
    { numRuns: 40 },
  );
  assert.deepEqual(
    readdirSync(folder).filter((entry) => entry.endsWith('.tmp')),
    [],
  );
});

test('a file that breaks the format is refused in one sentence that names it', () => {
  const entry = (dtype: unknown, shape: unknown, range: unknown) => ({ dtype, shape, data_offsets: range });
  const one = (dtype: unknown, shape: unknown, range: unknown) => craft({ t: entry(dtype, shape, range) }, 16);
  const cases: [RegExp, string][] = [
    [/claims a header of 1000 bytes, but has/, craft({}, 0, 1000n)],
    [/claims a header of 18446744073709551615 bytes/, craft({}, 0, 2n ** 64n - 1n)],
    [/not UTF-8/, craft('{"\xff":1}', 0)],
    [/not valid JSON/, craft('{"t":', 0)],
    [/describes tensor "t" by \[…\]/, craft(`{"t":${'['.repeat(200_000)}${']'.repeat(200_000)}}`, 0)],
    [/header that is not an object/, craft([], 0)],
    [/names tensor "t" twice/, craft('{"t":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"\\u0074":{}}', 16)],
    [/describes tensor "t" by 5/, craft({ t: 5 }, 0)],
    [/unknown dtype "F33"/, one('F33', [4], [0, 16])],
    [/unknown dtype "constructor"/, one('constructor', [4], [0, 16])],
    [/the shape \[-4\]/, one('F32', [-4], [0, 16])],
    [/the shape \[1.5\]/, one('F32', [1.5], [0, 16])],
    [/the shape \[null\]/, one('F32', [Number.NaN], [0, 16])],
    [/the shape "4"/, one('F32', '4', [0, 16])],
    [/the byte range \[16,0\]/, one('F32', [4], [16, 0])],
    [/the byte range \[0\]/, one('F32', [4], [0])],
    [/gives tensor "t" 16 bytes; F32 \[5\] needs 20/, one('F32', [5], [0, 16])],
    [/needs 3\.\d+e\+47/, one('F32', [2 ** 52, 2 ** 52, 2 ** 52], [0, 16])],
    [/but the file has/, one('F32', [8], [0, 32])],
    [/4 bytes that belong to no tensor/, one('F32', [3], [0, 12])],
    [/tensors a and b overlap/, craft({ a: entry('F32', [4], [0, 16]), b: entry('F32', [2], [8, 16]) }, 16)],
    [/__metadata__ that is not a map of strings/, craft({ __metadata__: { a: 1 } }, 0)],
  ];
  for (const [message, path] of cases)
    assert.throws(
      () => openSafetensors(path),
      (error) => error instanceof ModelLoadError && message.test(error.message) && error.message.startsWith(path),
      `${readFileSync(path, 'latin1').slice(8, 90)} should fail with ${message}`,
    );
  writeFileSync(join(folder, 'tiny'), 'abc');
  assert.throws(() => openSafetensors(join(folder, 'tiny')), /has 3 bytes/);
  assert.throws(() => openSafetensors(join(folder, 'absent')), /there is no such file/);
  assert.throws(() => openSafetensors(folder), /not a file/);
});

test('a damaged file is read or refused, never anything else', () => {
  const valid = readFileSync(golden('halves.safetensors'));
  const path = join(folder, 'mutated.safetensors');
  const change = fc.record({
    at: fc.nat(valid.length - 1),
    byte: fc.oneof(fc.nat(255), fc.integer({ min: 0x2c, max: 0x7d })),
  });
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), fc.option(fc.nat(valid.length)), (changes, cut) => {
      const bytes = Buffer.from(valid);
      for (const { at, byte } of changes) bytes[at] = byte;
      writeFileSync(path, cut === null ? bytes : bytes.subarray(0, cut));
      try {
        const file = openSafetensors(path);
        try {
          for (const name of file.tensors.keys()) assert.ok(file.read(name).length <= valid.length);
        } finally {
          file.dispose();
        }
      } catch (error) {
        if (!(error instanceof ModelLoadError)) throw error;
      }
    }),
    { numRuns: 600 },
  );
});

test('a file that shrinks after it was opened is an error, not zeros', () => {
  const path = craft({ t: { dtype: 'F32', shape: [4], data_offsets: [0, 16] } }, 16);
  const file = openSafetensors(path);
  writeFileSync(path, readFileSync(path).subarray(0, -4));
  assert.throws(() => file.read('t'), /ends at byte/);
  file.dispose();
});

async function shardFolder(name: string, map: unknown): Promise<string> {
  const place = join(folder, name);
  mkdirSync(place);
  await writeSafetensors(join(place, 'a.safetensors'), [{ name: 'x', shape: [2], values: Float32Array.of(1, 2) }]);
  await writeSafetensors(join(place, 'b.safetensors'), [{ name: 'y', shape: [1], values: Float32Array.of(3) }]);
  writeFileSync(join(place, 'model.safetensors.index.json'), JSON.stringify({ weight_map: map }));
  return join(place, 'model.safetensors.index.json');
}

test('shards are read as one file', async () => {
  const file = openShards(await shardFolder('shards', { x: 'a.safetensors', y: 'b.safetensors' }));
  assert.deepEqual([file.read('x'), file.read('y')], [Float32Array.of(1, 2), Float32Array.of(3)]);
  assert.throws(() => file.read('z'), /there is no tensor z/);
  file.dispose();
});

test('an index may only name shards of its own folder that hold what it says', async () => {
  const outside = join(folder, 'outside.safetensors');
  await writeSafetensors(outside, [{ name: 'x', shape: [1], values: Float32Array.of(7) }]);
  const cases: [RegExp, unknown][] = [
    [/weight_map .* missing or not an object/, 7],
    [/expected the name of a .safetensors file in the same folder/, { x: '../outside.safetensors' }],
    [/expected the name/, { x: outside }],
    [/expected the name/, { x: '..' }],
    [/expected the name/, { x: 'model.safetensors.index.json' }],
    [/expected the name/, { x: 'sub\\a.safetensors' }],
    [/expected the name/, { x: 5 }],
    [/there is no such file/, { x: 'absent.safetensors' }],
    [/tensor y should be in a.safetensors, but is not/, { y: 'a.safetensors' }],
    [/is a link that leads out of its folder/, { x: 'link.safetensors' }],
    [/leads back to itself/, { x: 'loop.safetensors' }],
  ];
  for (const [index, [message, map]] of cases.entries()) {
    const path = await shardFolder(`hostile-${index}`, map);
    symlinkSync(outside, join(path, '..', 'link.safetensors'));
    symlinkSync('loop.safetensors', join(path, '..', 'loop.safetensors'));
    assert.throws(
      () => openShards(path),
      (error) => error instanceof ModelLoadError && message.test(error.message),
      `${JSON.stringify(map)} should fail with ${message}`,
    );
  }
});
