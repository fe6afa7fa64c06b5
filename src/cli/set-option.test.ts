import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError } from '../support/errors.js';
import { applySettings } from './set-option.js';

const values = { task: { maxTokens: 256, models: { teacher: { model: 'a' } } }, arms: [{ arm: 'greedy' }, { t: 1 }] };

test('a value takes the place of what its key names, and everything else stays', () => {
  const changed = applySettings(values, [
    'task.models.teacher=b/c.gguf',
    'arms.1.t=0.5',
    'arms.2={ arm: x }',
    'name=a=b',
  ]);
  assert.deepEqual(changed, {
    task: { maxTokens: 256, models: { teacher: 'b/c.gguf' } },
    arms: [{ arm: 'greedy' }, { t: 0.5 }, { arm: 'x' }],
    name: 'a=b',
  });
  assert.equal(values.arms.length, 2, 'what was given is not touched');
});

test('what is no key=value, or names no place, is refused with what to do', () => {
  const refused: [string, RegExp][] = [
    ['maxTokens', /expected key=value/],
    ['=1', /expected key=value/],
    ['a..b=1', /expected key=value/],
    ['a={', /the value is no YAML/],
    ['arms.7.t=1', /the list has 2 entries, '7' is none/],
    ['task.maxTokens.x=1', /'x' lies inside a number/],
  ];
  for (const [setting, told] of refused) {
    assert.throws(
      () => applySettings(values, [setting]),
      (error) => error instanceof ConfigError && told.test(error.message),
    );
  }
});
