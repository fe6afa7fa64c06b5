import assert from 'node:assert/strict';
import test from 'node:test';
import { comparisonTable, formatNumber, formatSummary, formatTable } from './table.js';

test('numbers keep three digits, and thousands are set apart', () => {
  const shown = [0, 0.01234, 0.5, 3.456, 34.56, 345.6, 12345.6, 20, -3.456, 1e-9].map(formatNumber);
  assert.deepEqual(shown, ['0', '0.0123', '0.500', '3.46', '34.6', '346', '12,346', '20', '-3.46', '0.000000']);
});

test('a summary shows its range unless there is none', () => {
  assert.equal(formatSummary({ n: 3, min: 1, median: 2.5, max: 3 }), '2.50 (1–3)');
  assert.equal(formatSummary({ n: 1, min: 2.5, median: 2.5, max: 2.5 }), '2.50');
  assert.equal(formatSummary({ n: 3, min: 2.5, median: 2.5001, max: 2.5002 }), '2.50');
});

test('a table lines up, escapes bars and leaves out columns that are empty throughout', () => {
  const text = formatTable({
    title: 'T',
    header: ['name', 'nothing', 'x'],
    rows: [
      ['a|b', '', '1'],
      ['longer', '', '22'],
    ],
  });
  assert.equal(text, '### T\n\n| name   | x   |\n| ------ | --- |\n| a\\|b   | 1   |\n| longer | 22  |\n');
});

test('a row without a peer leaves the cells of the comparison empty', () => {
  const { rows } = comparisonTable('T', [
    {
      case: 'c',
      setting: 's',
      threads: 2,
      quantity: 'q',
      unit: 'ms',
      azeotrope: { n: 1, min: 4, median: 4, max: 4 },
      shareOfProducts: { n: 1, min: 0.5, median: 0.5, max: 0.5 },
    },
  ]);
  assert.deepEqual(rows, [['s', '2', 'q, ms', '4', '', '', '50.0 %', '']]);
});
