import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gguf as referenceGguf } from '@huggingface/gguf';
import fc from 'fast-check';
import { ModelLoadError } from '../../support/errors.js';
import { sharedPath } from '../../support/shared-data.fixture.js';
import { openGguf } from './gguf.js';

const golden = (name: string) => fileURLToPath(new URL(`../../../test/parity/golden/files/${name}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'gguf-test-'));
after(() => rmSync(folder, { recursive: true }));
const smollm = sharedPath('models/SmolLM2-135M-Instruct.Q4_1.gguf');

/** Writes a GGUF file from its parts; little-endian numbers by width. */
function craft(name: string, parts: readonly (readonly ['u32' | 'u64' | 'text' | 'bytes', unknown])[]): string {
  const bytes = parts.map(([kind, value]) => {
    const wide = Buffer.alloc(8);
    if (kind === 'bytes') return value as Buffer;
    if (kind === 'text') {
      wide.writeBigUInt64LE(BigInt(Buffer.byteLength(value as string)));
      return Buffer.concat([wide, Buffer.from(value as string)]);
    }
    wide.writeBigUInt64LE(BigInt(value as number));
    return kind === 'u32' ? wide.subarray(0, 4) : wide;
  });
  const path = join(folder, name);
  writeFileSync(path, Buffer.concat(bytes));
  return path;
}

const start = (numTensors: number | bigint, numKeys: number | bigint) =>
  [
    ['bytes', Buffer.from('GGUF')],
    ['u32', 3],
    ['u64', numTensors],
    ['u64', numKeys],
  ] as const;

const tensor = (name: string, dims: readonly (number | bigint)[], type: number, offset: number) =>
  [
    ['text', name],
    ['u32', dims.length],
    ...dims.map((extent) => ['u64', extent] as const),
    ['u32', type],
    ['u64', offset],
  ] as const;

test('every tensor type gives, bit for bit, the values that the Python library gives', () => {
  const index = JSON.parse(readFileSync(golden('quantised.expected.json'), 'utf8'));
  const bytes = readFileSync(golden('quantised.expected.bin'));
  const expected = new Int32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const file = openGguf(golden('quantised.gguf'));
  assert.deepEqual([...file.tensors.keys()].sort(), Object.keys(index).sort());
  for (const [name, { shape, offset }] of Object.entries<{ shape: number[]; offset: number }>(index)) {
    assert.deepEqual(file.tensors.get(name)!.shape, shape, name);
    const values = file.read(name);
    const bits = new Int32Array(values.buffer);
    for (let at = 0; at < values.length; at++)
      if (!Number.isNaN(values[at])) assert.equal(bits[at], expected[offset + at], `${name}[${at}] = ${values[at]}`);
    const numNan = values.filter(Number.isNaN).length;
    assert.equal(numNan, name === 'tensor.F16' ? 1 : 0, name);
  }
  file.dispose();
});

test('reading into given memory writes exactly that memory', () => {
  const file = openGguf(golden('quantised.gguf'));
  const size = file.read('tensor.Q4_K').length;
  const memory = new Float32Array(size + 2).fill(9);
  file.read('tensor.Q4_K', memory.subarray(1, size + 1));
  assert.deepEqual([memory[0], memory[size + 1]], [9, 9]);
  assert.deepEqual(memory.subarray(1, size + 1), file.read('tensor.Q4_K'));
  assert.throws(() => file.read('tensor.Q4_K', new Float32Array(size - 1)), /internal: read/);
  file.dispose();
});

test('metadata of every value type is read', () => {
  const { metadata, version } = openGguf(golden('quantised.gguf'));
  assert.equal(version, 3);
  assert.equal(metadata['test.text'], 'naïve ☃ text');
  assert.deepEqual(metadata['test.words'], ['a', '', 'ünï']);
  assert.deepEqual(metadata['test.numbers'], [1.5, -2.25]);
  assert.equal(metadata['test.flag'], true);
  assert.equal(metadata['test.large'], 2n ** 63n + 1n);
  assert.equal(metadata['test.negative'], -7);
});

for (const [name, path] of [
  ['a small file', golden('quantised.gguf')],
  ['SmolLM2', smollm],
] as const)
  test(`metadata and tensor places equal those of @huggingface/gguf: ${name}`, {
    skip: path === undefined && 'needs ../shared/models',
  }, async () => {
    const file = openGguf(path!);
    const reference = await referenceGguf(path!, { allowLocalFile: true });
    const { version, tensor_count: numTensors, kv_count: numKeys, ...metadata } = reference.metadata;
    assert.equal(file.version, version);
    assert.equal(file.tensors.size, Number(numTensors));
    assert.equal(Object.keys(file.metadata).length, Number(numKeys));
    for (const [key, value] of Object.entries(metadata))
      assert.deepEqual(file.metadata[key], typeof value === 'bigint' && value < 2n ** 53n ? Number(value) : value, key);
    for (const info of reference.tensorInfos) {
      const stored = file.tensors.get(info.name)!;
      assert.deepEqual(stored.shape, info.shape.map(Number).reverse(), info.name);
      assert.equal(stored.offset, Number(reference.tensorDataOffset + info.offset), info.name);
    }
    file.dispose();
  });

test('a file that breaks the format is refused in one sentence that names it', () => {
  const deep = (depth: number) =>
    Array.from(
      { length: depth },
      () =>
        [
          ['u32', 9],
          ['u64', 1],
        ] as const,
    ).flat();
  const data = ['bytes', Buffer.alloc(4096)] as const;
  const cases: [RegExp, string][] = [
    [/does not begin with "GGUF"/, craft('magic', [['bytes', Buffer.from('GGML\x03\0\0\0')], data])],
    [/big-endian/, craft('endian', [['bytes', Buffer.from('GGUF\0\0\0\x03')], data])],
    [/version 1; supported are 2 and 3/, craft('version', [['bytes', Buffer.from('GGUF\x01\0\0\0')], data])],
    [/ends within/, craft('empty', [])],
    [/ends within/, craft('short', start(0, 1).slice(0, 3))],
    [/metadata claims 1000000000 items/, craft('keys', [...start(0, 1e9), data])],
    [/number of metadata keys claims/, craft('keys64', [...start(0, 2n ** 63n), data])],
    [/list of tensors claims 1000000 items/, craft('count', [...start(1e6, 0), data])],
    [/claims 4294967296 bytes \(limit/, craft('text', [...start(0, 1), ['u64', 2 ** 32], data])],
    [
      /claims 100000 items of at least 8 bytes/,
      craft('array', [...start(0, 1), ['text', 'k'], ['u32', 9], ['u32', 8], ['u64', 1e5], data]),
    ],
    [/nests arrays more than 4 deep/, craft('deep', [...start(0, 1), ['text', 'k'], ['u32', 9], ...deep(5000), data])],
    [/unknown type 77/, craft('type', [...start(0, 1), ['text', 'k'], ['u32', 77], data])],
    [/not UTF-8/, craft('utf8', [...start(0, 1), ['u64', 2], ['bytes', Buffer.from([0xc3, 0x28])], data])],
    [
      /names metadata key "k" twice/,
      craft('twice', [
        ...start(0, 2),
        ['text', 'k'],
        ['u32', 0],
        ['bytes', Buffer.from([1])],
        ['text', 'k'],
        ['u32', 0],
        data,
      ]),
    ],
    [
      /general.alignment 0/,
      craft('align', [...start(0, 1), ['text', 'general.alignment'], ['u32', 4], ['u32', 0], data]),
    ],
    [
      /2 parts of a split model/,
      craft('split', [...start(0, 1), ['text', 'split.count'], ['u32', 4], ['u32', 2], data]),
    ],
    [/9 dimensions; expected 1 to 4/, craft('rank', [...start(1, 0), ...tensor('t', Array(9).fill(1), 0, 0), data])],
    [/the unknown type 99/, craft('ttype', [...start(1, 0), ...tensor('t', [4], 99, 0), data])],
    [/the shape \[0\]/, craft('zero', [...start(1, 0), ...tensor('t', [0], 0, 0), data])],
    [/the shape/, craft('huge', [...start(1, 0), ...tensor('t', [2 ** 40, 2 ** 40], 0, 0), data])],
    [/needs bytes .* but the file has/, craft('beyond', [...start(1, 0), ...tensor('t', [2 ** 40], 0, 0), data])],
    [/needs bytes .* but the file has/, craft('offset', [...start(1, 0), ...tensor('t', [4], 0, 1 << 20), data])],
    [
      /rows of 33 values, not a multiple of Q4_1's block of 32/,
      craft('rows', [...start(1, 0), ...tensor('t', [33], 3, 0), data]),
    ],
    [/not a multiple of the alignment/, craft('odd', [...start(1, 0), ...tensor('t', [4], 0, 3), data])],
    [
      /tensors a and b overlap/,
      craft('overlap', [...start(2, 0), ...tensor('a', [16], 0, 0), ...tensor('b', [4], 0, 32), data]),
    ],
    [
      /names tensor "a" twice/,
      craft('names', [...start(2, 0), ...tensor('a', [4], 0, 0), ...tensor('a', [4], 0, 32), data]),
    ],
  ];
  for (const [message, path] of cases)
    assert.throws(
      () => openGguf(path),
      (error) => error instanceof ModelLoadError && message.test(error.message) && error.message.startsWith(path),
      `${path} should fail with ${message}`,
    );
});

test('a tensor of a type without a reader is refused by name when read, not before', () => {
  const path = craft('iq', [...start(1, 0), ...tensor('t', [256], 16, 0), ['bytes', Buffer.alloc(200)]]);
  const file = openGguf(path);
  assert.throws(() => file.read('t'), /tensor t is IQ2_XXS, which cannot be read. Supported: F32/);
  assert.throws(() => file.read('u'), /there is no tensor u/);
});

test('a damaged file is read or refused, never anything else', () => {
  const valid = readFileSync(golden('quantised.gguf'));
  const path = join(folder, 'mutated.gguf');
  const headerEnd = 1500; // most damage should hit the header
  const change = fc.record({
    at: fc.oneof(fc.nat(headerEnd), fc.nat(valid.length - 1)),
    bytes: fc.oneof(fc.uint8Array({ minLength: 1, maxLength: 8 }), fc.constant(new Uint8Array(8).fill(255))),
  });
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), fc.option(fc.nat(valid.length)), (changes, cut) => {
      const bytes = Buffer.from(valid);
      for (const { at, bytes: written } of changes) bytes.set(written.subarray(0, bytes.length - at), at);
      writeFileSync(path, cut === null ? bytes : bytes.subarray(0, cut));
      try {
        const file = openGguf(path);
        try {
          for (const name of file.tensors.keys()) assert.ok(file.read(name).length <= valid.length * 8);
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

test('the embedding of SmolLM2 looks trained: centred, of ordinary size', {
  skip: smollm === undefined && 'needs ../shared/models',
}, () => {
  const file = openGguf(smollm!);
  const embedding = file.read('token_embd.weight');
  assert.equal(embedding.length, 49_152 * 576);
  // A trained embedding: finite, centred, of ordinary size.
  let sum = 0;
  let squares = 0;
  for (const value of embedding) {
    sum += value;
    squares += value * value;
  }
  assert.ok(Math.abs(sum / embedding.length) < 0.01);
  assert.ok(squares / embedding.length > 1e-4 && squares / embedding.length < 1);
  file.dispose();
});
