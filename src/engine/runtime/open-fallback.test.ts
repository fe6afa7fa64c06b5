import assert from 'node:assert/strict';
import Module from 'node:module';
import { test } from 'node:test';
import { BackendError } from '../../support/errors.js';
import { openRuntime } from './open.js';

type Load = (request: string, ...rest: unknown[]) => unknown;
const loader = Module as unknown as { _load: Load };

/** Runs `action` while the named packages do not load. */
function without<T>(packages: readonly string[], action: () => T): T {
  const original = loader._load;
  loader._load = (request, ...rest) => {
    if (packages.includes(request)) throw new Error(`no ${request} here`);
    return original(request, ...rest);
  };
  try {
    return action();
  } finally {
    loader._load = original;
  }
}

// First, while nothing is loaded yet.
test('where the C API does not load the stock binding stands in and says why', () => {
  const runtime = without(['koffi'], () => openRuntime({ threads: 1 }));
  assert.equal(runtime.kind, 'stock');
  assert.match(runtime.fallbackReason ?? '', /koffi does not load.*no koffi here/);
  runtime.dispose();
  assert.throws(
    () => without(['koffi'], () => openRuntime({ kind: 'c-api' })),
    BackendError,
    'but not where it was asked for',
  );
});

test('where nothing loads the error says so', () => {
  assert.throws(() => without(['koffi', 'onnxruntime-node'], () => openRuntime()), BackendError);
});
