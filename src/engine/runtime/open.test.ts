import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { BackendError, ConfigError } from '../../support/errors.js';
import { openRuntime, type RuntimeOptions } from './open.js';

const kindOf = (options: RuntimeOptions): string => {
  const runtime = openRuntime({ threads: 1, ...options });
  runtime.dispose();
  return runtime.kind;
};

afterEach(() => {
  delete process.env.AZEOTROPE_RUNTIME;
});

test('the C API is preferred', () => {
  const runtime = openRuntime({ threads: 1 });
  assert.equal(runtime.kind, 'c-api');
  assert.equal(runtime.fallbackReason, undefined);
  runtime.dispose();
});

test('AZEOTROPE_RUNTIME overrides the kind', () => {
  process.env.AZEOTROPE_RUNTIME = 'c-api';
  assert.equal(kindOf({ kind: 'stock' }), 'c-api');
  process.env.AZEOTROPE_RUNTIME = '';
  assert.equal(kindOf({}), 'c-api');
  process.env.AZEOTROPE_RUNTIME = 'stock';
  assert.equal(kindOf({ kind: 'c-api' }), 'stock');
});

test('the C API cannot follow a stock runtime in one process, and says so', () => {
  // The test above opened a stock runtime.
  assert.throws(
    () => openRuntime({ threads: 1, kind: 'c-api' }),
    (error: unknown) => {
      return error instanceof BackendError && /stock runtime was opened/.test(error.message);
    },
  );
  const runtime = openRuntime({ threads: 1 });
  assert.equal(runtime.kind, 'stock');
  assert.match(runtime.fallbackReason ?? '', /stock runtime was opened/);
  runtime.dispose();
});

test('an unknown kind is refused with its source', () => {
  process.env.AZEOTROPE_RUNTIME = 'gpu';
  assert.throws(
    () => openRuntime(),
    (error: unknown) => error instanceof ConfigError && /AZEOTROPE_RUNTIME is 'gpu'/.test(error.message),
  );
});

test('a wrong number of threads is refused before anything is loaded', () => {
  assert.throws(() => openRuntime({ threads: 0 }), ConfigError);
});
