/** A teacher's answers, kept in whole chunks: a chunk is always made in one go, so that resuming changes no digit. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Trace } from '../../inference/trace.js';
import { DataError } from '../../support/errors.js';
import { writeFileAtomic } from '../../support/files.js';
import { readJsonl } from '../../support/jsonl.js';
import type { Stage, StageResults } from '../stage.js';
import type { Purpose, Response } from '../task.js';
import { type AskOptions, ask, forceAnswers, responsesOf } from './ask.js';
import { type StageContext, tokenizerOf } from './context.js';
import { prepareSampling } from './defend.js';

const FILE = 'traces.jsonl';

/** A row of `traces.jsonl`: a trace, with what was thought of it. */
export interface JudgedTrace extends Omit<Trace, 'sample'> {
  readonly isCorrect: boolean;
  readonly isParsed: boolean;
}

/** Digits kept of Δ and of divergences: they are shown and averaged, never computed with. */
const STATISTICS_DIGITS = 6;

/** Traces to learn from are judged as they are; where accuracy counts, answers are forced. */
const UNFORCED: readonly Purpose[] = ['distil', 'holdout'];

export async function runTraces(stage: Stage<'traces'>, context: StageContext): Promise<StageResults['traces']> {
  const { inputs, models, needs } = stage;
  const { task, signal } = context;
  const teacher = await context.open(models.teacher);
  const questions = (await task.questions(inputs.purpose, inputs.to)).slice(inputs.from);
  const chunks = chunksOf(questions, inputs.chunk);
  const pathOf = (index: number) => join(context.scratch, `chunk-${index}.jsonl`);
  const parts = { proxy: models.proxy, gradient: needs.proxy, strength: needs.strength };
  const sampling = await prepareSampling(context, teacher, { sampling: inputs.sampling, parts });
  mkdirSync(context.scratch, { recursive: true });
  let numDone = 0;
  const options: AskOptions = {
    ...sampling,
    ...{ task, signal, seed: inputs.seed, maxTokens: inputs.maxTokens, maxBatch: inputs.maxBatch },
    onTrace: () => context.onProgress(++numDone / questions.length),
  };
  try {
    for (const [index, chunk] of chunks.entries()) {
      if (!existsSync(pathOf(index))) {
        const { traces } = await ask(teacher, chunk, options);
        const responses = UNFORCED.includes(inputs.purpose)
          ? responsesOf(chunk, traces)
          : await forceAnswers(teacher, { questions: chunk, traces }, options);
        const judgements = await task.judge(responses, signal);
        await writeRows(
          pathOf(index),
          traces.map((trace, at) => ({ ...rowOf(trace), ...judgements[at] })),
        );
      }
      numDone = Math.min(questions.length, (index + 1) * inputs.chunk);
    }
  } finally {
    sampling.dispose();
  }
  const rows: JudgedTrace[] = [];
  for (const index of chunks.keys()) rows.push(...(await readRows(pathOf(index))));
  await writeRows(join(context.folder, FILE), rows);
  const result = { ...summaryOf(rows), tokenizerFingerprint: tokenizerOf(teacher).fingerprint };
  if (inputs.mustParse && result.parsed === 0) {
    throw new DataError(
      `None of the teacher's ${rows.length} answers (${inputs.purpose}) could be read as an answer: the run has nothing to measure. ` +
        `One of them: ${JSON.stringify(rows[0].text.slice(0, 200))}. Check the prompt, maxTokens and the teacher.`,
    );
  }
  return result;
}

function chunksOf<T>(items: readonly T[], size: number): T[][] {
  const numChunks = Math.ceil(items.length / size);
  return Array.from({ length: numChunks }, (_, index) => items.slice(index * size, (index + 1) * size));
}

function rowOf(trace: Trace): Omit<Trace, 'sample'> {
  const { sample: _sample, statistics, ...row } = trace;
  if (statistics === undefined) return row;
  const short = Object.entries(statistics).map(([name, values]) => [
    name,
    values.map((value) => Number(value.toPrecision(STATISTICS_DIGITS))),
  ]);
  return { ...row, statistics: Object.fromEntries(short) };
}

function summaryOf(rows: readonly JudgedTrace[]): Omit<StageResults['traces'], 'tokenizerFingerprint'> {
  const count = (test: (row: JudgedTrace) => boolean) => rows.filter(test).length;
  const divergences = rows.flatMap(({ statistics }) => statistics?.klNats ?? []);
  return {
    correct: count(({ isCorrect }) => isCorrect),
    total: rows.length,
    parsed: count(({ isParsed }) => isParsed),
    finished: count(({ finish }) => finish === 'stop'),
    tokens: rows.reduce((sum, { tokens }) => sum + tokens.length, 0),
    meanKlNats: divergences.length === 0 ? null : divergences.reduce((a, b) => a + b, 0) / divergences.length,
  };
}

const writeRows = (path: string, rows: readonly object[]): Promise<void> =>
  writeFileAtomic(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));

async function readRows(path: string): Promise<JudgedTrace[]> {
  const rows: JudgedTrace[] = [];
  for await (const { row } of readJsonl(path)) rows.push(row as JudgedTrace);
  return rows;
}

/** The traces of a stage that is done, the first `count` of them. */
export async function readTraces(folder: string, count = Number.POSITIVE_INFINITY): Promise<JudgedTrace[]> {
  const rows: JudgedTrace[] = [];
  for await (const { row } of readJsonl(join(folder, FILE))) {
    if (rows.length >= count) break;
    rows.push(row as JudgedTrace);
  }
  return rows;
}

/** Traces with their questions. */
export async function readResponses(
  { task, folderOf }: Pick<StageContext, 'task' | 'folderOf'>,
  { id, purpose, to }: { id: string; purpose: Purpose; to: number },
): Promise<Response[]> {
  const questions = new Map((await task.questions(purpose, to)).map((question) => [question.id, question]));
  const traces = await readTraces(folderOf(id));
  return traces.map((trace) => ({ question: questions.get(trace.id)!, text: trace.text, finish: trace.finish }));
}
