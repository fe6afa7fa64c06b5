import assert from 'node:assert/strict';
import test from 'node:test';
import type { ResultRow } from './summary.js';
import { judge, ratioOf, type Target } from './targets.js';

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

test('a target is read from its own setting, which is named without its sizes', () => {
  const row = (name: string, setting: string, median: number) => ({
    ...{ case: name, setting, threads: 1, quantity: 'q', ratio: { median } },
    ...{ azeotrope: { median }, peer: { who: 'w' } },
  });
  const ratioIn = (settings: readonly string[], setting: string) =>
    ratioOf({ case: 'c', setting, threads: 1, quantity: 'q' })(
      settings.map((each, index) => row('c', each, index)) as unknown as readonly ResultRow[],
    );
  assert.equal(ratioIn(['m, batch 1, prompt of 256', 'm, batch 1'], 'm, batch 1'), 1);
  assert.equal(ratioIn(['m, batch 1, prompt of 256'], 'm, batch 1'), undefined);
  assert.equal(ratioIn(['m, batch 16', 'm, batch 1 (d128)'], 'm, batch 1'), 1);
  assert.equal(ratioIn(['9 M, 4×256'], '9 M'), 0);
});

test('a target that was not measured has no verdict', () => {
  assert.deepEqual(judge(rows, [target(true, 2, undefined)]), []);
});
