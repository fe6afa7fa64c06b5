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
 * it is, whatever its id, and of several requests with the same messages one is asked. Errors: those of the responder; the signal's reason.
 */
export async function askAll(
  responder: Responder,
  requests: readonly ChatRequest[],
  {
    path,
    signal,
    onKept,
    onAnswer,
  }: {
    path: string;
    signal?: AbortSignal | undefined;
    /** Told first: the number of requests that need not be asked. */
    onKept?: ((numKept: number) => void) | undefined;
    onAnswer?: ((answer: ChatAnswer) => void) | undefined;
  },
): Promise<AskAllResult> {
  const stored = new Map<string, StoredAnswer>();
  if (existsSync(path)) {
    for await (const { row } of readJsonl(path, { onTornLine: () => {} }))
      stored.set((row as StoredAnswer).key, row as StoredAnswer);
  }
  const keyOf = ({ messages }: ChatRequest) => sha256OfJson({ responder: responder.identity, messages });
  const answers = new Map<string, ChatAnswer>();
  // By key: requests with the same messages are one question.
  const missing = new Map<string, ChatRequest[]>();
  for (const request of requests) {
    const key = keyOf(request);
    const known = stored.get(key);
    if (known === undefined) missing.set(key, [...(missing.get(key) ?? []), request]);
    else answers.set(request.id, { ...known, id: request.id });
  }
  const numKept = answers.size;
  onKept?.(numKept);
  const keys = new Map([...missing].map(([key, [{ id }]]) => [id, key]));
  const appender = await openJsonlAppender(path);
  try {
    const failures = await responder.answerAll(
      [...missing.values()].map(([first]) => first),
      {
        signal,
        onAnswer(answer) {
          const key = keys.get(answer.id)!;
          appender.append({ key, ...answer });
          for (const { id } of missing.get(key)!) answers.set(id, { ...answer, id });
          onAnswer?.(answer);
        },
      },
    );
    const repeated = failures.flatMap(({ id, message }) =>
      missing.get(keys.get(id)!)!.map((request) => ({ id: request.id, message })),
    );
    return { answers, failures: repeated, numKept };
  } finally {
    appender.close();
  }
}
