/** A student's folder: its model, its answers, and what is known of it (`student.json`, written last). */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { StepRow } from '../../methods/gad/alarms.js';
import { readText, writeFileAtomic } from '../../support/files.js';
import { readJsonl } from '../../support/jsonl.js';
import type { DistillRow, StudentDetails, ValidationAt } from './records.js';

export interface StoredStudent {
  readonly row: DistillRow;
  readonly details: Pick<
    StudentDetails,
    'numTraces' | 'otherTasks' | 'validation' | 'validations' | 'overlap' | 'steps' | 'trainingMs'
  >;
}

const FILE = 'student.json';
const STEPS = 'steps.jsonl';

/** Folder of the trained model in a student's folder. */
export const modelFolder = (folder: string): string => join(folder, 'model');

/** Its answers to the questions of the run. */
export const responsesFile = (folder: string): string => join(folder, 'responses.jsonl');

/** Whether a student's folder holds its result. */
export const isFinished = (folder: string): boolean => existsSync(join(folder, FILE));

export const writeStudent = (folder: string, student: StoredStudent): Promise<void> =>
  writeFileAtomic(join(folder, FILE), JSON.stringify(student));

export const readStudent = async (folder: string): Promise<StoredStudent> =>
  JSON.parse(await readText(join(folder, FILE))) as StoredStudent;

/** Steps of an adversarial student in training, as far as they are on disk. */
export async function readSteps(folder: string): Promise<StepRow[]> {
  const path = join(folder, STEPS);
  const rows: StepRow[] = [];
  if (!existsSync(path)) return rows;
  for await (const { row } of readJsonl(path, { onTornLine: () => {} })) rows.push(row as StepRow);
  return rows;
}

/** Scores among the steps. */
export const validationsOf = (steps: readonly StepRow[]): ValidationAt[] =>
  steps.flatMap(({ step, validation }) => (validation === null ? [] : [{ ...validation, step }]));
