/** The two records of a run folder, checked: what a report is made from. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type Details, TRADEOFF_SCHEMA_VERSION, type Tradeoff } from '../experiment/records.js';
import { DataError } from '../support/errors.js';
import { counted, readRecord, whole } from './record-file.js';

export interface RunRecords {
  readonly tradeoff: Tradeoff;
  readonly details: Details;
}

const TRADEOFF_FILE = 'tradeoff.json';
const DETAILS_FILE = 'details.json';

const MADE = { version: TRADEOFF_SCHEMA_VERSION, command: 'azeotrope tradeoff' };

const arm = z.enum(['temperature', 'maskedTemperature', 'antidistillation', 'permutation', 'rule', 'greedy']);
const settings = z.record(z.string(), z.unknown());
const seed = z.int();

const tradeoffSchema = z.object({
  schemaVersion: z.literal(TRADEOFF_SCHEMA_VERSION),
  commit: z.string().nullable(),
  precision: z.enum(['auto', 'float32', 'bfloat16']).exactOptional(),
  points: z.array(
    z.object({
      ...{ arm, settings, seed, teacherSeed: seed, teacher: counted },
      student: z.object({ correct: whole, total: whole, finished: whole, lossNats: z.number().exactOptional() }),
      trainingMultiple: z.number().positive(),
      studentKind: z.enum(['blackBox', 'whiteBox']),
      attack: z.string().nullable(),
      proxyKind: z.string(),
      meanKlNats: z.number().nullable(),
      tokens: whole,
      wallMs: z.number(),
    }),
  ),
  undistilled: z.array(z.object({ seed, correct: whole, total: whole, lossNats: z.number().exactOptional() })),
  baselines: z.array(z.object({ name: z.string(), correct: whole, total: whole })).exactOptional(),
  errorStudy: z.array(z.object({ epsilon: z.number(), error: z.number() })),
  cost: z.array(z.object({ arm, tokensPerSecond: z.number(), relativeToPlain: z.number() })),
});

const texts = z.record(z.string(), z.string());

const detailsSchema = z.object({
  schemaVersion: z.literal(TRADEOFF_SCHEMA_VERSION),
  name: z.string(),
  isQuick: z.boolean(),
  task: z.object({ name: z.string(), description: z.string(), chance: z.number().nullable() }),
  config: z.unknown(),
  versions: texts,
  machine: z.object({ cpu: z.string(), cores: z.number(), memoryGiB: z.number(), threads: z.number() }),
  startedAt: z.string(),
  wallMs: z.number(),
  progress: z.object({ done: whole, total: whole }),
  stages: z.array(z.object({ kind: z.string(), count: whole, wallMs: z.number(), engineMs: z.number() })),
  glossary: z.object({ attacks: texts, proxyKinds: texts }).exactOptional(),
  command: z.string().exactOptional(),
  facts: z.array(
    z.object({
      title: z.string(),
      caption: z.string(),
      columns: z.array(z.string()),
      rows: z.array(z.object({ name: z.string(), values: z.array(z.union([z.number(), z.string(), z.null()])) })),
    }),
  ),
  traces: z.array(
    z.object({
      ...{ arm, settings, teacherSeed: seed, seed, question: z.string(), isCorrect: z.boolean() },
      tokens: z.array(
        z.object({ text: z.string(), delta: z.number().nullable(), logProbability: z.number().nullable() }),
      ),
    }),
  ),
});

/** The files of a run's records. */
export const recordFiles = (folder: string): readonly string[] =>
  [TRADEOFF_FILE, DETAILS_FILE].map((name) => join(folder, name));

/**
 * Reads the records of a run folder.
 * @throws DataError for a folder that is none of a run's, for records of another schema, and for damaged ones, naming the field
 */
export async function readRecords(folder: string): Promise<RunRecords> {
  if (!existsSync(folder))
    throw new DataError(`${folder}: there is no such folder. Name the folder of a trade-off run.`);
  if (!statSync(folder).isDirectory()) throw new DataError(`${folder} is a file. Name the folder of a trade-off run.`);
  const missing = [TRADEOFF_FILE, DETAILS_FILE].filter((name) => !existsSync(join(folder, name)));
  if (missing.length > 0) {
    throw new DataError(
      `${folder} has no ${missing.join(' and no ')}: it is no folder of a trade-off run, or the run has no point yet. ` +
        'Name the output folder of azeotrope tradeoff.',
    );
  }
  return {
    tradeoff: await readRecord(join(folder, TRADEOFF_FILE), tradeoffSchema, MADE),
    details: await readRecord(join(folder, DETAILS_FILE), detailsSchema, MADE),
  };
}
