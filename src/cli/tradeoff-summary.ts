/** What a run found, on one screen. */
import type { RunTables } from '../experiment/run-tradeoff.js';
import { findResults } from '../report/findings.js';
import { percentWithInterval } from '../report/format.js';
import { readCertainty, readEffect } from '../report/paragraphs.js';
import { readResult } from '../report/reading.js';
import { isOrdinary } from '../report/settings.js';

const WIDTH = 90;

/** Headline, a table of the settings with 95 % intervals, and what was found in plain words. */
export function summarizeRun({ tradeoff, details }: RunTables): string {
  const findings = findResults(tradeoff);
  const { headline, verdict, paragraphs } = readResult(findings, details);
  const { undistilled } = findings;
  // The headline and the table say the one, the report the other: a screen has no room for both.
  const leftOut = [readEffect(findings, details.task.chance)?.title, readCertainty(findings)?.title];
  const rows = [
    ['', 'teacher', 'student'],
    ...findings.settings
      .filter(isOrdinary)
      .map(({ name, teacher, student }) => [
        name,
        percentWithInterval(teacher.rate, teacher.interval),
        percentWithInterval(student.rate, student.interval),
      ]),
    ...(undistilled ? [['no traces', '', percentWithInterval(undistilled.rate, undistilled.interval)]] : []),
  ];
  const cost = tradeoff.cost.find(({ arm }) => arm === 'antidistillation');
  const texts = [
    ...paragraphs.filter(({ title }) => !leftOut.includes(title)).map(({ title, text }) => `${title} ${text}`),
    ...(cost
      ? [
          `Cost: a token under antidistillation sampling takes ${cost.relativeToPlain.toFixed(2)} times as long as plain.`,
        ]
      : []),
  ];
  const quick = details.isQuick
    ? 'A quick run: fewer seeds and points than the whole run; its numbers are rough.\n\n'
    : '';
  return `\n${quick}${wrap(`${headline} ${verdict}`.trim())}\n\n${alignColumns(rows)}\n  Correct answers, with 95 % intervals.\n\n${texts.map((text) => wrap(text)).join('\n')}\n`;
}

function alignColumns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) => `  ${row.map((cell, column) => cell.padEnd(widths[column])).join('   ')}`.trimEnd())
    .join('\n');
}

/** Lines of at most WIDTH characters, further ones indented. */
function wrap(text: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = ' ';
    }
    line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line].join('\n');
}
