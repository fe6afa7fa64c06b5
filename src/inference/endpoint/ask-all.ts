/** Answers kept row by row: nothing that was answered is asked, or paid for, again. */
import { existsSync } from 'node:fs';
import { sha256OfJson } from '../../support/hash.js';
import { openJsonlAppender, readJsonl } from '../../support/jsonl.js';
import type { ChatAnswer, ChatFailure, ChatRequest, Responder } from './responder.js';

export interface AskAllResult {
  /** By the id of the request. */
  readonly answers: ReadonlyMap<string, ChatAnswer>;
  readonly failures: readonly ChatFailure[];
  /** Requests that were answered before. */
  readonly numKept: number;
}

interface StoredAnswer extends ChatAnswer {
  /** Of responder and messages. */
  readonly key: string;
}

/**
 * Answers requests, appending each answer to `path` as it comes. A row there that has the same messages and responder is taken as
 * it is, whatever its id. Errors: those of the responder; the signal's reason.
 */
export async function askAll(
  responder: Responder,
  requests: readonly ChatRequest[],
  {
    path,
    signal,
    onAnswer,
  }: { path: string; signal?: AbortSignal | undefined; onAnswer?: ((answer: ChatAnswer) => void) | undefined },
): Promise<AskAllResult> {
  const stored = new Map<string, StoredAnswer>();
  if (existsSync(path)) {
    for await (const { row } of readJsonl(path, { onTornLine: () => {} }))
      stored.set((row as StoredAnswer).key, row as StoredAnswer);
  }
  const keyOf = ({ messages }: ChatRequest) => sha256OfJson({ responder: responder.identity, messages });
  const answers = new Map<string, ChatAnswer>();
  const missing: ChatRequest[] = [];
  for (const request of requests) {
    const known = stored.get(keyOf(request));
    if (known === undefined) missing.push(request);
    else answers.set(request.id, { ...known, id: request.id });
  }
  const numKept = answers.size;
  const keys = new Map(missing.map((request) => [request.id, keyOf(request)]));
  const appender = await openJsonlAppender(path);
  try {
    const failures = await responder.answerAll(missing, {
      signal,
      onAnswer(answer) {
        appender.append({ key: keys.get(answer.id), ...answer });
        answers.set(answer.id, answer);
        onAnswer?.(answer);
      },
    });
    return { answers, failures, numKept };
  } finally {
    appender.close();
  }
}
