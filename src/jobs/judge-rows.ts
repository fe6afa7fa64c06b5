/** A file of responses to a judged file. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type JudgeResult,
  judgeResponses,
  numJudgeRequests,
  type ResponseToJudge,
} from '../evaluation/judge/judge-responses.js';
import type { Responder } from '../inference/endpoint/responder.js';
import { DataError } from '../support/errors.js';
import { fileError, writeFileAtomic } from '../support/files.js';
import { readJsonl } from '../support/jsonl.js';

export interface JudgeRowsOptions {
  /** Rows (.jsonl) with id, a question (`prompt`, or the last user's of `messages`) and `response` or `text`. */
  readonly input: string;
  /** Folder of `judge.json` and of the judge's answers. */
  readonly output: string;
  readonly judge: Responder;
  readonly signal?: AbortSignal | undefined;
  readonly onStart?: ((numRequests: number) => void) | undefined;
  readonly onAnswer?: (() => void) | undefined;
}

/** Judges every row. Run again it asks only what was not answered. Errors: DataError naming file and line; those of the judge. */
export async function judgeRows(options: JudgeRowsOptions): Promise<JudgeResult> {
  const { input, output, judge, signal, onStart, onAnswer } = options;
  const rows = await readResponses(input);
  await mkdir(output, { recursive: true }).catch((error: unknown) => {
    throw fileError(error, 'write', output);
  });
  onStart?.(numJudgeRequests(rows.length));
  const result = await judgeResponses(judge, rows, { cache: output, signal, onAnswer });
  await writeFileAtomic(join(output, 'judge.json'), `${JSON.stringify({ schemaVersion: 1, ...result }, null, 2)}\n`);
  return result;
}

async function readResponses(path: string): Promise<ResponseToJudge[]> {
  const rows: ResponseToJudge[] = [];
  const seen = new Set<string>();
  for await (const { row, line } of readJsonl(path)) {
    const where = `${path}:${line}`;
    const { id, prompt, messages, response, text } = (row ?? {}) as Record<string, unknown>;
    const turns = Array.isArray(messages) ? (messages as { role?: unknown; content?: unknown }[]) : [];
    const answer = response ?? text ?? turns.findLast(({ role }) => role === 'assistant')?.content;
    const question = prompt ?? turns.findLast(({ role }) => role === 'user')?.content;
    if ((typeof id !== 'string' && typeof id !== 'number') || seen.has(String(id)))
      throw new DataError(`${where}: expected an id that no other row has.`);
    if (typeof question !== 'string' || typeof answer !== 'string')
      throw new DataError(
        `${where}: expected a question ("prompt" or "messages") and an answer ("response" or "text").`,
      );
    seen.add(String(id));
    rows.push({ id: String(id), question, response: answer });
  }
  if (rows.length === 0) throw new DataError(`${path}: there are no rows in this file.`);
  return rows;
}
