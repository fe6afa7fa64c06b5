import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { jsonText } from './json-text.js';

test('is the same value, whatever its shape', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) =>
      assert.deepEqual(JSON.parse(jsonText(value)), JSON.parse(JSON.stringify(value))),
    ),
  );
});

test('what is short stands on one line, what is long on several that are indented', () => {
  assert.equal(jsonText({ a: [1, 2], b: { c: 'd' }, e: undefined }), '{ "a": [1, 2], "b": { "c": "d" } }');
  const long = 'x'.repeat(50);
  assert.equal(jsonText({ a: [long, long] }), `{\n  "a": [\n    "${long}",\n    "${long}"\n  ]\n}`);
});
