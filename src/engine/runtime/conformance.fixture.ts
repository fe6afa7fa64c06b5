/** The conformance suite of the runtime, run against each implementation in a process of its own. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { testLifeTimes, testThreads } from './conformance-life.fixture.js';
import { testValues } from './conformance-values.fixture.js';
import type { Runtime } from './types.js';

export function testRuntime(kind: string, open: (threads: number) => Runtime): void {
  describe(`runtime ${kind}`, () => {
    const runtime = open(1);
    after(() => runtime.dispose());

    test('says what it is', () => {
      assert.equal(runtime.kind, kind);
      assert.match(runtime.version, /^1\.\d+\.\d+$/);
      assert.equal(runtime.numThreads, 1);
    });
    testValues(runtime, open);
    testLifeTimes(runtime, open);
  });

  describe(`runtime ${kind}, alone in its process`, () => testThreads(open));
}
