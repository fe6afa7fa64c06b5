/** Results to Markdown. */
import type { ResultRow, Summary } from './summary.js';
import type { Table } from './types.js';

/** Three digits that matter, thousands set apart: 12,345; 3.46; 0.0123; whole numbers whole: 20. */
export function formatNumber(value: number): string {
  const size = Math.abs(value);
  if (size >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString('en-US');
  const digits = Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(size))));
  return value.toFixed(digits);
}

/** `median (min–max)`; the median alone where there is one value or no spread. */
export function formatSummary(
  { n, min, median, max }: Summary,
  scale: (value: number) => string = formatNumber,
): string {
  const [low, middle, high] = [scale(min), scale(median), scale(max)];
  return n === 1 || low === high ? middle : `${middle} (${low}–${high})`;
}

const percent = (value: number): string => `${(100 * value).toFixed(1)} %`;
const times = (value: number): string => `${value.toFixed(2)}×`;

/** The table of compared quantities. */
export function comparisonTable(title: string, rows: readonly ResultRow[]): Table {
  return {
    title,
    header: [
      ...['setting', 'threads', 'quantity', 'azeotrope', 'peer', 'azeotrope / peer'],
      ...['share of products', 'share of memory'],
    ],
    rows: rows.map(({ setting, threads, quantity, unit, azeotrope, peer, ratio, shareOfProducts, shareOfMemory }) => [
      setting,
      String(threads),
      unit === '' ? quantity : `${quantity}, ${unit}`,
      formatSummary(azeotrope),
      peer === undefined ? '' : `${peer.who}: ${formatSummary(peer)}`,
      ratio === undefined ? '' : formatSummary(ratio, times),
      shareOfProducts === undefined ? '' : formatSummary(shareOfProducts, percent),
      shareOfMemory === undefined ? '' : formatSummary(shareOfMemory, percent),
    ]),
  };
}

/** A Markdown table whose columns line up; columns that are empty throughout are left out. */
export function formatTable({ title, header, rows }: Table): string {
  const kept = header.map((_, column) => column).filter((column) => rows.some((row) => row[column] !== ''));
  const cells = [header, ...rows].map((row) => kept.map((column) => row[column].replaceAll('|', '\\|')));
  const widths = kept.map((_, column) => Math.max(3, ...cells.map((row) => row[column].length)));
  const line = (row: readonly string[]) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`;
  return [`### ${title}`, '', line(cells[0]), rule, ...cells.slice(1).map(line), ''].join('\n');
}
