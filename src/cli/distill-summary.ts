/** What a distillation run found, as a table for the terminal. */
import { wilsonInterval } from '../evaluation/intervals.js';
import type { DistillRecords } from '../experiment/distill/record-book.js';
import { describeSpend } from '../experiment/distill/spend.js';
import type { Count } from '../experiment/records.js';

/** A line for each student, accuracy with its 95 % interval; below it what the teacher's answers cost. */
export function summarizeDistill({ distill, details }: DistillRecords): string {
  const { teacher, undistilled, spend } = details;
  const others = [...new Set(details.students.flatMap(({ otherTasks }) => Object.keys(otherTasks)))];
  const line = (
    name: string,
    seed: string,
    scores: { inDistribution: Count; outOfDistribution: Count | null; otherTasks: Readonly<Record<string, Count>> },
    more: readonly string[],
  ) => [
    ...[name, seed, share(scores.inDistribution), share(scores.outOfDistribution)],
    ...others.map((other) => share(scores.otherTasks[other] ?? null)),
    ...more,
  ];
  const lines = [
    ['student', 'seed', 'in distribution', 'out of distribution', ...others, 'tokens', 'alarms'],
    ...(teacher === null ? [] : [line('teacher', '', teacher, ['', ''])]),
    ...undistilled.map((row) => line('undistilled', String(row.seed), row, ['', ''])),
    ...distill.rows.map((row, index) =>
      line(row.variant, String(row.seed), { ...row, otherTasks: details.students[index].otherTasks }, [
        row.meanLength.toFixed(1),
        row.alarms.map(({ kind, step }) => `${kind} at ${step}`).join(', '),
      ]),
    ),
  ];
  const paid = spend === null ? '' : `\nThe teacher: ${describeSpend(spend)} (prompts + responses).\n`;
  return `${alignColumns(lines)}${paid}`;
}

function share(count: Count | null): string {
  if (count === null) return '–';
  const { lower, upper } = wilsonInterval(count.correct, count.total);
  return `${(count.correct / count.total).toFixed(3)} (${lower.toFixed(3)}–${upper.toFixed(3)})`;
}

function alignColumns(lines: readonly (readonly string[])[]): string {
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  const padded = lines.map((line) => line.map((cell, column) => cell.padEnd(widths[column])).join('  '));
  return padded.map((line) => `${line.trimEnd()}\n`).join('');
}
