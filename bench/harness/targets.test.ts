import assert from 'node:assert/strict';
import test from 'node:test';
import type { ResultRow } from './summary.js';
import { judge, type Target } from './targets.js';

const rows = [{ quantity: 'q' }] as unknown as readonly ResultRow[];
const target = (isAtLeast: boolean, limit: number, value: number | undefined): Target => ({
  text: 't',
  limit,
  isAtLeast,
  read: (given) => (given === rows ? value : undefined),
});

test('a target is judged on its own side of the limit, and the limit itself is met', () => {
  const verdicts = judge(rows, [target(true, 2, 1), target(true, 2, 2), target(false, 2, 1), target(false, 2, 3)]);
  assert.deepEqual(
    verdicts.map(({ isMet, limit }) => [isMet, limit]),
    [
      [false, '≥ 2'],
      [true, '≥ 2'],
      [true, '≤ 2'],
      [false, '≤ 2'],
    ],
  );
});

test('a target that was not measured has no verdict', () => {
  assert.deepEqual(judge(rows, [target(true, 2, undefined)]), []);
});
