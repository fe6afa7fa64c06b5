/** The two records of a distillation run, read and checked: what its report is made from. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { METHODS } from '../experiment/distill/config.js';
import type { DistillRecords } from '../experiment/distill/record-book.js';
import { DISTILL_SCHEMA_VERSION } from '../experiment/distill/records.js';
import { counted, readRecord, whole } from './record-file.js';

const DISTILL_FILE = 'distill.json';
const DETAILS_FILE = 'details.json';

const MADE = { version: DISTILL_SCHEMA_VERSION, command: 'azeotrope distill' };

const student = { method: z.enum(METHODS), variant: z.string(), seed: z.int() };
const mode = z.array(z.number()).length(10);

const distillSchema = z.object({
  schemaVersion: z.literal(DISTILL_SCHEMA_VERSION),
  commit: z.string().nullable(),
  rows: z.array(
    z.object({
      ...student,
      ...{ inDistribution: counted, outOfDistribution: counted.nullable() },
      ...{ meanLength: z.number(), tokens: whole, wallMs: z.number() },
      alarms: z.array(z.looseObject({ kind: z.string(), step: whole, message: z.string() })),
    }),
  ),
  toy: z.object({ gad: mode, seqkd: mode, teacher: mode }).nullable(),
});

const scored = z.looseObject({ inDistribution: counted, outOfDistribution: counted.nullable() });

const detailsSchema = z.looseObject({
  schemaVersion: z.literal(DISTILL_SCHEMA_VERSION),
  name: z.string(),
  progress: z.object({ done: whole, total: whole, now: z.string().nullable() }),
  teacher: scored.nullable(),
  undistilled: z.array(scored),
  students: z.array(z.looseObject({ ...student, isDone: z.boolean(), steps: z.array(z.looseObject({ step: whole })) })),
  responses: z.array(
    z.object({
      set: z.string(),
      question: z.string(),
      answers: z.array(z.looseObject({ name: z.string(), text: z.string() })),
    }),
  ),
});

/** The files of a distillation run's records. */
export const distillFiles = (folder: string): readonly string[] =>
  [DISTILL_FILE, DETAILS_FILE].map((name) => join(folder, name));

/** Whether a folder is one of a distillation run. */
export const isDistillRun = (folder: string): boolean => existsSync(join(folder, DISTILL_FILE));

/** @throws DataError for records of another schema, and for damaged ones, naming the field */
export async function readDistillRecords(folder: string): Promise<DistillRecords> {
  const [distill, details] = distillFiles(folder);
  return {
    distill: await readRecord(distill, distillSchema, MADE),
    details: await readRecord(details, detailsSchema, MADE),
  } as unknown as DistillRecords;
}
