/** Pairs of answers to verdicts: a file in, rows out in the same order. */
import { type Interval, wilsonInterval } from '../evaluation/intervals.js';
import { ConfigError, DataError } from '../support/errors.js';
import { openJsonlAppender, readJsonl } from '../support/jsonl.js';
import { createGrader, type Verdict } from '../tasks/answers/grader.js';
import { readWritten } from './written-rows.js';

export interface GradeRowsOptions {
  /** Pairs (.jsonl): `{id, expected, actual}`. */
  readonly input: string;
  /** Verdicts (.jsonl); those that are in it already must be the first of these. */
  readonly output?: string | undefined;
  /** Adds to each verdict the rule that found the answer, the answer, and the time. */
  readonly explain?: boolean;
  /** Longest time of one comparison, in milliseconds. */
  readonly timeLimitMs?: number;
  readonly signal?: AbortSignal;
  readonly onStart?: (plan: { numRows: number }) => void;
  readonly onRow?: (row: GradedRow) => void;
  readonly log?: (message: string) => void;
}

/** A verdict as it is written; `rule`, `answer` and `durationMs` with `explain` only. */
interface GradedRow extends Partial<Omit<Verdict, 'equal'>> {
  readonly id: string | number;
  readonly equal: boolean;
}

export interface GradeSummary {
  readonly output: string | null;
  readonly numRows: number;
  readonly numEqual: number;
  /** Wilson's 95 % interval of the share of equal answers. */
  readonly interval: Interval;
  /** Comparisons that were ended at the time limit; they count as not equal. */
  readonly numTimeouts: number;
}

interface Pair {
  readonly id: string | number;
  readonly expected: string;
  readonly actual: string;
}

/**
 * Grades every pair of a file. Errors: DataError for wrong rows, before any work; ConfigError where the output holds other verdicts.
 */
export async function gradeRows(options: GradeRowsOptions): Promise<GradeSummary> {
  const { output, explain = false, timeLimitMs, signal } = options;
  const pairs = await readPairs(options);
  const written = output === undefined ? [] : await readGraded(output);
  options.onStart?.({ numRows: pairs.length });
  const grader = createGrader(timeLimitMs === undefined ? {} : { timeLimitMs });
  const onTornLine = ({ line }: { line: number }) =>
    options.log?.(`${output}:${line}: the last line was cut off; its row is graded again.`);
  const checkWritten = (row: GradedRow, index: number) => {
    if (index >= written.length) return true;
    if (written[index].id === row.id && written[index].equal === row.equal) return false;
    throw new ConfigError(
      `${output}:${index + 1}: this file holds verdicts of other pairs. Name another output, or remove the file.`,
    );
  };
  let appender: Awaited<ReturnType<typeof openJsonlAppender>> | undefined;
  let numEqual = 0;
  let numTimeouts = 0;
  try {
    if (written.length > pairs.length) {
      throw new ConfigError(`${output} holds more verdicts than ${options.input} has pairs. Name another output.`);
    }
    for (const [index, { id, expected, actual }] of pairs.entries()) {
      signal?.throwIfAborted();
      const { equal, ...explanation } = await grader.equal(expected, actual);
      const row: GradedRow = { id, equal, ...(explain && explanation) };
      if (explanation.rule === 'timeout') numTimeouts++;
      if (equal) numEqual++;
      if (output !== undefined && checkWritten(row, index)) {
        appender ??= await openJsonlAppender(output, { onTornLine });
        appender.append(row);
      }
      options.onRow?.(row);
    }
  } finally {
    appender?.close();
    grader.dispose();
  }
  const interval = wilsonInterval(numEqual, pairs.length);
  return { output: output ?? null, numRows: pairs.length, numEqual, interval, numTimeouts };
}

async function readPairs({ input, log }: GradeRowsOptions): Promise<Pair[]> {
  const pairs: Pair[] = [];
  const onTornLine = ({ line }: { line: number }) =>
    log?.(`${input}:${line}: the last line is cut off and was left out.`);
  for await (const { row, line } of readJsonl(input, { onTornLine })) pairs.push(toPair(row, `${input}:${line}`));
  if (pairs.length === 0) throw new DataError(`${input}: there are no rows in this file.`);
  return pairs;
}

function toPair(row: unknown, where: string): Pair {
  if (typeof row !== 'object' || row === null || Array.isArray(row)) {
    throw new DataError(`${where}: a row must be an object.`);
  }
  const { id, expected, actual } = row as Record<string, unknown>;
  if (typeof id !== 'string' && typeof id !== 'number') {
    throw new DataError(`${where}: the row has no "id" (text or a number). Add one.`);
  }
  return { id, expected: textOf(expected, 'expected', where), actual: textOf(actual, 'actual', where) };
}

function textOf(value: unknown, key: string, where: string): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return String(value);
  throw new DataError(
    `${where}: "${key}" is ${value === undefined ? 'missing' : JSON.stringify(value)}, expected a text or a number.`,
  );
}

async function readGraded(path: string): Promise<Partial<GradedRow>[]> {
  const rows: Partial<GradedRow>[] = [];
  for await (const { row } of readWritten(path)) rows.push((row ?? {}) as Partial<GradedRow>);
  return rows;
}
