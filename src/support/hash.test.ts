import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicalJson, sha256, sha256OfJson } from './hash.js';

test('sha256 gives the published answer for "abc", as text and as bytes', () => {
  const answer = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
  assert.equal(sha256('abc'), answer);
  assert.equal(sha256(Uint8Array.of(97, 98, 99)), answer);
});

test('canonical JSON parses back to the value and does not depend on the order of keys', () => {
  const reversed = (_key: string, value: unknown) =>
    value && typeof value === 'object' && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).reverse())
      : value;
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const plain = JSON.parse(JSON.stringify(value));
      assert.deepEqual(JSON.parse(canonicalJson(plain)), plain);
      assert.equal(sha256OfJson(JSON.parse(JSON.stringify(plain), reversed)), sha256OfJson(plain));
    }),
  );
});

test('values that JSON would silently change are refused', () => {
  for (const value of [Number.NaN, [undefined], new Map(), new Date(0), () => 1, 1n]) {
    assert.throws(() => canonicalJson({ value }), /internal:/);
  }
  assert.equal(canonicalJson({ b: 1, a: undefined }), '{"b":1}');
});

test('keys that objects have by nature are keys like others', () => {
  assert.equal(canonicalJson({ toString: 0, constructor: [] }), '{"constructor":[],"toString":0}');
});
