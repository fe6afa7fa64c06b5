/** A run as it is kept. */
import type { CommitRecord, MachineRecord } from './machine.js';
import type { ResultRow } from './summary.js';
import { formatNumber, formatTable } from './table.js';
import type { Verdict } from './targets.js';
import type { Table } from './types.js';

export interface Report extends CommitRecord {
  readonly schemaVersion: 1;
  readonly startedAt: string;
  readonly machine: MachineRecord;
  /** Processes that wanted to run, before and after (its own included). */
  readonly loadBefore: number;
  readonly loadAfter: number;
  readonly threads: readonly number[];
  readonly rounds: number;
  readonly secondsPerMeasurement: number;
  readonly rows: readonly ResultRow[];
  readonly targets: readonly Verdict[];
  readonly tables: readonly Table[];
}

/** The Markdown of a run: machine, tables, targets. */
export function reportText(report: Report): string {
  const { machine, rounds } = report;
  const packages = Object.entries(machine.packages).map(([name, version]) => `${name} ${version}`);
  const facts = [
    `Commit ${report.commit}${report.isDirty ? ' with uncommitted changes' : ''}; ${report.startedAt}.`,
    `${machine.cpu}, ${machine.numCores} cores, ${machine.vectorExtensions.join(', ')}; ${formatNumber(machine.memoryBytes / 2 ** 30)} GiB; ${machine.platform}.`,
    `Node ${machine.node}, ${packages.join(', ')}.`,
    `Threads ${report.threads.join(' and ')}; n = ${rounds} rounds of alternating runs, ${report.secondsPerMeasurement} s each; every run a process of its own.`,
    `Load of the machine before ${report.loadBefore.toFixed(2)}, after ${report.loadAfter.toFixed(2)}.`,
    'Numbers are medians over the rounds, with minimum and maximum; ratios and shares are taken within a round.',
  ];
  const parts = ['# Benchmark run', facts.map((fact) => `- ${fact}`).join('\n'), ...report.tables.map(formatTable)];
  if (report.targets.length > 0) parts.push(formatTable(targetTable(report.targets)));
  return `${parts.map((part) => part.trimEnd()).join('\n\n')}\n`;
}

export function targetTable(targets: readonly Verdict[]): Table {
  return {
    title: 'Targets',
    header: ['target', 'measured', 'limit', ''],
    rows: targets.map(({ target, value, limit, isMet }) => [
      target,
      formatNumber(value),
      limit,
      isMet ? 'met' : 'MISSED',
    ]),
  };
}
