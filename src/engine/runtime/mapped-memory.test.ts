import assert from 'node:assert/strict';
import { test } from 'node:test';
import koffi from 'koffi';
import { BackendError } from '../../support/errors.js';
import { mappedAllocator } from './mapped-memory.js';
import { ALIGNMENT_BYTES } from './memory.js';

const allocate = mappedAllocator(koffi);
const MIB = 2 ** 20;

test('blocks of every size are aligned and zero', () => {
  for (const sizeBytes of [0, 1, 63, 4096, 256 * 1024, 5 * MIB + 3]) {
    const { buffer, byteOffset, free } = allocate(sizeBytes);
    assert.equal((koffi.address(buffer) + BigInt(byteOffset)) % BigInt(ALIGNMENT_BYTES), 0n, `${sizeBytes} bytes`);
    assert.ok(buffer.byteLength >= byteOffset + sizeBytes);
    assert.ok(new Uint8Array(buffer).every((byte) => byte === 0));
    free();
  }
});

test('free returns a large block to the system at once and leaves its addresses readable', {
  skip: !['linux', 'darwin'].includes(process.platform) && 'needs mmap',
}, () => {
  const sizeBytes = 128 * MIB;
  const { buffer, free } = allocate(sizeBytes);
  const before = process.memoryUsage.rss();
  const bytes = new Uint8Array(buffer).fill(1);
  const full = process.memoryUsage.rss();
  free();
  const after = process.memoryUsage.rss();
  // Half of the block is far beyond what else happens in the process meanwhile.
  assert.ok(full - before > sizeBytes / 2, 'the block was resident');
  assert.ok(full - after > sizeBytes / 2, 'and is not any more');
  assert.equal(bytes[sizeBytes - 1], 0);
});

test('a block that no address space holds is an error naming its bytes', () => {
  assert.throws(
    () => allocate(2 ** 52),
    (error: unknown) => error instanceof BackendError && /4503599627370496 bytes/.test(error.message),
  );
});
