/** The two records of a run, written after every student and, for those who watch, every few seconds between. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '../../support/files.js';
import { type Answer, readAnswers } from './examine.js';
import type { Distill, DistillDetails, ShownResponses, StudentDetails } from './records.js';
import { readSteps, responsesFile, type StoredStudent, validationsOf } from './student-file.js';
import type { PlannedStudent } from './variants.js';

const DISTILL_FILE = 'distill.json';
const DETAILS_FILE = 'details.json';
const INTERVAL_MS = 3000;

export interface DistillRecords {
  readonly distill: Distill;
  readonly details: DistillDetails;
}

/** What is known at a moment; the run replaces it as it goes on. */
export interface RunState {
  readonly distill: Omit<Distill, 'rows'>;
  readonly details: Omit<DistillDetails, 'progress' | 'students' | 'responses'>;
  readonly now: string | null;
  readonly total: number;
  readonly done: readonly {
    readonly student: PlannedStudent;
    readonly stored: StoredStudent;
    readonly folder: string;
  }[];
  readonly running: { readonly student: PlannedStudent; readonly folder: string } | null;
  /** Names and answers of others than students: the teacher, students before they learn. */
  readonly others: readonly { readonly name: string; readonly answers: readonly Answer[] }[];
  readonly numShown: number;
}

export interface RecordBook {
  /** Writes both files. */
  write(state: RunState): Promise<DistillRecords>;
  /** The same where the last time is a few seconds ago; errors come with the next `write`. */
  writeSoon(state: () => RunState): void;
}

export function openRecordBook(output: string): RecordBook {
  let lastMs = performance.now();
  let pending: Promise<unknown> = Promise.resolve();
  let failure: unknown;
  const write = async (state: RunState): Promise<DistillRecords> => {
    const records = await collect(state);
    for (const [name, record] of [
      [DETAILS_FILE, records.details],
      [DISTILL_FILE, records.distill],
    ] as const)
      await writeFileAtomic(join(output, name), `${JSON.stringify(record, null, 1)}\n`);
    lastMs = performance.now();
    return records;
  };
  return {
    async write(state) {
      await pending;
      if (failure !== undefined) throw failure;
      return write(state);
    },
    writeSoon(state) {
      if (performance.now() - lastMs < INTERVAL_MS || failure !== undefined) return;
      lastMs = performance.now();
      pending = pending
        .then(() => write(state()))
        .catch((error: unknown) => {
          failure = error;
        });
    },
  };
}

async function collect(state: RunState): Promise<DistillRecords> {
  const { done, running, now, total } = state;
  const finished = done.map(
    ({ student, stored }): StudentDetails => ({
      ...identityOf(student),
      isDone: true,
      ...stored.details,
    }),
  );
  const students = running === null ? finished : [...finished, await detailsOfRunning(running)];
  const shown = await shownResponses(state);
  return {
    distill: {
      ...state.distill,
      rows: done.map(({ student, stored }) => ({ ...stored.row, variant: student.variant })),
    },
    details: { ...state.details, progress: { done: done.length, total, now }, students, responses: shown },
  };
}

const identityOf = ({ method, variant, seed, set }: PlannedStudent) => ({ method, variant, seed, set });

async function detailsOfRunning({
  student,
  folder,
}: {
  student: PlannedStudent;
  folder: string;
}): Promise<StudentDetails> {
  const steps = await readSteps(folder);
  return {
    ...identityOf(student),
    isDone: false,
    numTraces: student.numTraces,
    otherTasks: {},
    ...{ validation: null, overlap: null, trainingMs: null },
    validations: validationsOf(steps),
    steps,
  };
}

/** The first questions of each set with everybody's answers; of a variant those of its first seed. */
async function shownResponses({ done, others, numShown }: RunState): Promise<ShownResponses[]> {
  const groups = [...others];
  const names = new Set<string>();
  for (const { student, folder } of done) {
    if (names.has(student.variant)) continue;
    names.add(student.variant);
    const path = responsesFile(folder);
    if (existsSync(path)) groups.push({ name: student.variant, answers: await readAnswers(path) });
  }
  const asked = new Map(groups.flatMap(({ answers }) => answers.map((answer) => [answer.id, answer])));
  const shown: ShownResponses[] = [];
  for (const { id, set, prompt } of asked.values()) {
    if (shown.filter((each) => each.set === set).length >= numShown) continue;
    const answers = groups.flatMap(({ name, answers: own }) => {
      const answer = own.find((each) => each.id === id);
      return answer === undefined ? [] : [{ name, text: answer.response, isCorrect: answer.isCorrect }];
    });
    shown.push({ set, question: prompt, answers });
  }
  return shown;
}
