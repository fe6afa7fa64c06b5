/** The rows of a run's steps on disk, in step with its checkpoints. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../support/files.js';
import { openJsonlAppender, readJsonl } from '../../support/jsonl.js';
import type { StepRow } from './alarms.js';

const FILE = 'steps.jsonl';

export interface History {
  /** Rows so far. */
  readonly rows: readonly StepRow[];
  append(row: StepRow): void;
  close(): void;
}

/** Goes on behind step `lastStep`: later rows, which no checkpoint holds, are dropped. Without a folder nothing is written. */
export async function openHistory(folder: string | undefined, lastStep: number): Promise<History> {
  const rows: StepRow[] = [];
  if (folder === undefined) return { rows, append: (row) => void rows.push(row), close: () => {} };
  await mkdir(folder, { recursive: true });
  const path = join(folder, FILE);
  if (existsSync(path)) {
    for await (const { row } of readJsonl(path, { onTornLine: () => {} })) {
      if ((row as StepRow).step <= lastStep) rows.push(row as StepRow);
    }
  }
  await writeFileAtomic(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const appender = await openJsonlAppender(path);
  return {
    rows,
    append(row) {
      rows.push(row);
      appender.append(row);
    },
    close: () => appender.close(),
  };
}
