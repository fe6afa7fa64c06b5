/** Accuracy of a model, or of stored traces, on questions with known answers. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Precision } from '../engine/onnx/emitter.js';
import { type GradedText, gradeResponse, isBoxed, isRead } from '../evaluation/grade-response.js';
import { measureAccuracy, type TaskAccuracy } from '../evaluation/task-accuracy.js';
import type { SamplerSettings } from '../inference/samplers/settings.js';
import type { Trace } from '../inference/trace.js';
import { ConfigError, DataError } from '../support/errors.js';
import { fileError, readText, writeFileAtomic } from '../support/files.js';
import { readJsonl } from '../support/jsonl.js';
import { createGrader, type Grader } from '../tasks/answers/grader.js';
import type { TaskItem } from '../tasks/datasets/items.js';
import {
  ANSWER_FORCING_SUFFIX,
  ANSWER_FORCING_TOKENS,
  buildPrompt,
  type PromptTemplate,
} from '../tasks/datasets/prompts.js';
import type { OpenedModel } from './open-model.js';
import { sampleRows } from './sample-rows.js';

export interface EvaluateTaskOptions {
  readonly items: readonly TaskItem[];
  /** Stored traces (.jsonl) whose ids are those of the questions; without them the model answers. */
  readonly traces?: string | undefined;
  /** Answers the questions, and forces answers where `forceAnswers` is set. */
  readonly opened?: OpenedModel | undefined;
  /** Folder of prompts, traces, forced answers, graded responses and the result. */
  readonly output: string;
  readonly template: PromptTemplate;
  readonly shots: readonly TaskItem[];
  /** A second pass continues every response without a box by the forcing suffix and 32 greedy tokens. */
  readonly forceAnswers: boolean;
  readonly sampler: Partial<SamplerSettings>;
  readonly samples: number;
  readonly maxTokens: number;
  readonly seed: number;
  readonly chat: 'auto' | 'never';
  readonly chatDate?: string | undefined;
  readonly maxBatch?: number | undefined;
  readonly timeLimitMs: number;
  readonly signal?: AbortSignal;
  /** Told at the start of each stage, and of each trace or response that is done. */
  readonly onStage?: (stage: 'answering' | 'forcing' | 'grading', total: number) => void;
  readonly onDone?: () => void;
  readonly log?: (message: string) => void;
}

export interface TaskEvaluation extends TaskAccuracy {
  readonly output: string;
  /** Questions that have a response. */
  readonly numQuestions: number;
  readonly numTimeouts: number;
  /** That the answers were computed in; null of stored traces that name none. */
  readonly precision: Precision | null;
}

type StoredTrace = Pick<Trace, 'id' | 'text' | 'finish'> &
  Partial<Pick<Trace, 'sample' | 'promptTokens' | 'tokens' | 'precision'>>;

/**
 * Answers, forces, grades and counts. The same call continues what was stopped. Errors: DataError for questions that share an id and
 * for traces without a question, and where no answer can be read; ConfigError where the folder belongs to another evaluation.
 */
export async function evaluateTask(options: EvaluateTaskOptions): Promise<TaskEvaluation> {
  const { output, opened } = options;
  const itemOf = new Map(options.items.map((item) => [item.id, item]));
  if (itemOf.size < options.items.length) {
    throw new DataError('Two questions share an id. Ids must differ: name another idField, or none.');
  }
  await makeFolder(output);
  const tracesPath = options.traces ?? (await answer(options));
  const traces = await readTraces(tracesPath, itemOf);
  const forced = options.forceAnswers && opened !== undefined ? await force(opened, traces, options) : undefined;
  options.onStage?.('grading', traces.length);
  const grader = createGrader({ timeLimitMs: options.timeLimitMs });
  try {
    const graded = [];
    for (const trace of traces) {
      options.signal?.throwIfAborted();
      graded.push(await gradeTrace(trace, { grader, item: itemOf.get(trace.id)!, forced }));
      options.onDone?.();
    }
    const rows = graded.map((row) => `${JSON.stringify(row)}\n`).join('');
    // Before anything is written: the folder may hold an evaluation that was fine.
    checkRead(graded, tracesPath);
    await writeFileAtomic(join(output, 'graded.jsonl'), rows);
    const accuracy = measureAccuracy(
      graded.map(({ finish, rule, equal, forced: second }) => ({
        isFinished: finish === 'stop',
        isBoxed: rule === 'boxed',
        isCorrect: equal,
        isCorrectForced: forced === undefined ? undefined : rule === 'boxed' ? equal : second?.equal === true,
      })),
    );
    const numTimeouts = graded.filter(({ rule, forced: second }) => [rule, second?.rule].includes('timeout')).length;
    const numQuestions = new Set(traces.map(({ id }) => id)).size;
    const precision = opened?.model.compiler.precision ?? traces[0].precision ?? null;
    const evaluation = { output, numQuestions, ...accuracy, numTimeouts, precision };
    await writeFileAtomic(join(output, 'evaluation.json'), `${JSON.stringify(evaluation, null, 2)}\n`);
    return evaluation;
  } finally {
    grader.dispose();
  }
}

/** Lets the model answer every question. Gives the path of the traces. */
async function answer(options: EvaluateTaskOptions): Promise<string> {
  const { items, template, shots, output, opened, onDone } = options;
  if (opened === undefined) throw new ConfigError('Give a model that answers, or traces that hold the answers.');
  const prompts = items.map((item) => ({ id: item.id, prompt: buildPrompt(item, template, shots) }));
  const input = await writeOnce(join(output, 'prompts.jsonl'), prompts);
  const traces = join(output, 'traces.jsonl');
  await sampleRows(opened, {
    ...options,
    input,
    output: traces,
    onStart: ({ numTraces, numDone }) => options.onStage?.('answering', numTraces - numDone),
    onTrace: () => onDone?.(),
  });
  options.signal?.throwIfAborted();
  return traces;
}

/** Continues every response that has no box. Gives the forced answers by id and sample. */
async function force(
  opened: OpenedModel,
  traces: readonly StoredTrace[],
  options: EvaluateTaskOptions,
): Promise<Map<string, string>> {
  const { model, tokenizer } = opened;
  if (tokenizer === undefined) throw new ConfigError('Forcing answers needs a model with a tokenizer.');
  const suffix = tokenizer.encode(ANSWER_FORCING_SUFFIX, { addSpecialTokens: false });
  const endIds = new Set([...model.config.eosTokenIds, ...tokenizer.eosTokenIds]);
  const rows = traces
    .filter(({ text }) => !isBoxed(text))
    .map(({ id, sample = 0, promptTokens, tokens }) => {
      if (promptTokens === undefined || tokens === undefined) {
        throw new DataError(`The trace of '${id}' has no token ids: its answer cannot be forced. Leave forcing out.`);
      }
      const response = endIds.has(tokens.at(-1) ?? -1) ? tokens.slice(0, -1) : tokens;
      const prefix = [...promptTokens, ...response, ...suffix];
      return { id: keyOf(id, sample), tokens: prefix, responseStart: prefix.length };
    })
    .filter(({ tokens }) => tokens.length + ANSWER_FORCING_TOKENS <= model.config.maxPositions);
  const forced = new Map<string, string>();
  if (rows.length === 0) return forced;
  const input = await writeOnce(join(options.output, 'forcing.jsonl'), rows);
  const output = join(options.output, 'forced.jsonl');
  const { maxBatch, signal, log, onDone } = options;
  await sampleRows(opened, {
    input,
    output,
    sampler: { temperature: 0 },
    maxTokens: ANSWER_FORCING_TOKENS,
    maxBatch,
    onStart: ({ numTraces, numDone }) => options.onStage?.('forcing', numTraces - numDone),
    onTrace: () => onDone?.(),
    log: (message) => log?.(message),
    ...(signal && { signal }),
  });
  signal?.throwIfAborted();
  for await (const { row } of readJsonl(output)) {
    const { id, text } = row as StoredTrace;
    forced.set(id, text);
  }
  return forced;
}

type GradedTrace = GradedText & {
  readonly id: string;
  readonly sample: number;
  readonly finish: Trace['finish'];
  readonly expected: string;
};

async function gradeTrace(
  { id, sample = 0, text, finish }: StoredTrace,
  { grader, item, forced }: { grader: Grader; item: TaskItem; forced: ReadonlyMap<string, string> | undefined },
): Promise<GradedTrace> {
  const forcedText = forced?.get(keyOf(id, sample));
  return {
    id,
    sample,
    finish,
    expected: item.answer,
    ...(await gradeResponse(grader, item.answer, { text, forcedText })),
  };
}

/** Errors: DataError where no answer can be read at all: an accuracy of 0 would say nothing of who answered. */
function checkRead(graded: readonly GradedTrace[], path: string): void {
  if (graded.some(isRead)) return;
  const isSlow = graded.every(({ rule }) => rule === 'timeout');
  throw new DataError(
    `${path}: none of the ${graded.length} responses could be read as an answer${isSlow ? ' within the time limit' : ''}. ` +
      `Check ${isSlow ? 'timeLimitMs' : 'that they answer these questions, the prompt and the longest response; forcing answers may help'}.`,
  );
}

const keyOf = (id: string, sample: number): string => `${id}#${sample}`;

async function readTraces(path: string, itemOf: ReadonlyMap<string, TaskItem>): Promise<StoredTrace[]> {
  const traces: StoredTrace[] = [];
  for await (const { row, line } of readJsonl(path)) {
    const { id, text, finish, ...rest } = (row ?? {}) as Partial<StoredTrace>;
    if (typeof text !== 'string' || (finish !== 'stop' && finish !== 'length')) {
      throw new DataError(`${path}:${line}: a trace needs "text" and "finish" ("stop" or "length").`);
    }
    if (!itemOf.has(String(id))) {
      throw new DataError(
        `${path}:${line}: no question has the id ${JSON.stringify(id)}. Are these traces of another data set?`,
      );
    }
    traces.push({ ...rest, id: String(id), text, finish });
  }
  if (traces.length === 0) throw new DataError(`${path}: there are no traces in this file.`);
  return traces;
}

/** Writes rows, or finds the same rows written. Errors: ConfigError where the file holds others. */
async function writeOnce(path: string, rows: readonly object[]): Promise<string> {
  const text = rows.map((row) => `${JSON.stringify(row)}\n`).join('');
  if (!existsSync(path)) await writeFileAtomic(path, text);
  else if ((await readText(path)) !== text) {
    throw new ConfigError(`${path} belongs to another evaluation. Name another output folder, or remove this one.`);
  }
  return path;
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    throw fileError(error, 'write', path);
  }
}
