/** What the teacher says: asked here, at an endpoint, or read from a file. */
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { askAll } from '../../inference/endpoint/ask-all.js';
import { API_KEY_VARIABLE, createEndpointResponder } from '../../inference/endpoint/responders.js';
import type { Trace } from '../../inference/trace.js';
import type { OpenedModel } from '../../jobs/open-model.js';
import { ConfigError, DataError } from '../../support/errors.js';
import { fileError, writeFileAtomic } from '../../support/files.js';
import { sha256, sha256OfJson } from '../../support/hash.js';
import { readJsonl } from '../../support/jsonl.js';
import { type ExampleOptions, encodeExample } from '../../tokenizer/example.js';
import type { Tokenizer } from '../../tokenizer/types.js';
import type { TrainingExample } from '../../training/batches.js';
import { ask } from '../stages/ask.js';
import type { Question, Task } from '../task.js';
import type { DistillConfig } from './config.js';

/** A response of the teacher. */
export interface TeacherTrace {
  readonly id: string;
  readonly text: string;
  readonly finish: 'stop' | 'length';
  /** Ids of the teacher's tokenizer, where it is known. */
  readonly promptTokens?: readonly number[];
  readonly tokens?: readonly number[];
}

export interface TraceSource {
  /** Changes with anything that changes a response. */
  readonly identity: string;
  /** Responses to the first questions; those asked for before are not made again. */
  responses(questions: readonly Question[]): Promise<readonly TeacherTrace[]>;
}

export interface TraceContext {
  readonly task: Task;
  readonly config: DistillConfig;
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly log: (message: string) => void;
}

/** Questions answered and written at once by a model in memory, in batches. */
const CHUNK_BATCHES = 4;

/** Chunks are made in one go and written whole, so that stopping changes no digit. */
export function localTraces(
  { task, config, folder, signal, log }: TraceContext,
  teacher: { identity: string; open: () => Promise<OpenedModel> },
): TraceSource {
  const { temperature } = config.teacher;
  const maxTokens = config.sampling.maxTokens ?? task.maxTokens;
  const { maxBatch } = config.sampling;
  const identity = sha256OfJson([
    teacher.identity,
    task.identity,
    temperature,
    maxTokens,
    maxBatch,
    config.inDistribution ?? null,
  ]);
  const place = join(folder, 'traces', identity.slice(0, 16));
  return {
    identity,
    async responses(questions) {
      await mkdir(place, { recursive: true });
      const traces: TeacherTrace[] = [];
      const size = CHUNK_BATCHES * maxBatch;
      let opened: OpenedModel | undefined;
      try {
        for (let start = 0; start < questions.length; start += size) {
          const path = join(place, `${start}-${Math.min(questions.length, start + size)}.jsonl`);
          if (!existsSync(path)) {
            opened ??= await teacher.open();
            log(`Asks the teacher: ${start} of ${questions.length} responses.`);
            const part = questions.slice(start, start + size);
            const asked = await ask(opened, part, {
              task,
              sampler: { temperature },
              seed: config.teacher.seed,
              maxTokens,
              maxBatch,
              signal,
            });
            await writeFileAtomic(path, asked.traces.map((trace) => `${JSON.stringify(rowOf(trace))}\n`).join(''));
          }
          for await (const { row } of readJsonl(path)) traces.push(row as TeacherTrace);
        }
      } finally {
        opened?.dispose();
      }
      return traces;
    },
  };
}

const rowOf = ({ id, text, finish, promptTokens, tokens }: Trace): TeacherTrace => ({
  id,
  text,
  finish,
  promptTokens,
  tokens,
});

/** Answers row by row, none paid for twice. Errors: DataError naming the first question that got none; run again to ask it. */
export function remoteTraces({ task, config, folder, signal, log }: TraceContext, fetcher?: typeof fetch): TraceSource {
  const { url, model, temperature } = config.teacher;
  if (url === undefined || model === undefined)
    throw new ConfigError('teacher.url needs teacher.model, the name of a model there.');
  const maxTokens = config.sampling.maxTokens ?? task.maxTokens;
  const responder = createEndpointResponder({
    ...{ url, model, temperature, maxTokens, log, fetch: fetcher },
    seed: config.teacher.seed,
    apiKey: process.env[API_KEY_VARIABLE],
  });
  return {
    identity: sha256OfJson([responder.identity, task.identity, config.inDistribution ?? null]),
    async responses(questions) {
      await mkdir(join(folder, 'traces'), { recursive: true });
      const requests = questions.map(({ id, row }) => ({
        id,
        messages: row.messages ?? [{ role: 'user' as const, content: row.prompt }],
      }));
      const { answers, failures } = await askAll(responder, requests, {
        path: join(folder, 'traces', 'endpoint.jsonl'),
        signal,
      });
      signal.throwIfAborted();
      if (failures.length > 0)
        throw new DataError(
          `${failures.length} of ${questions.length} questions have no answer; the first: ${failures[0].message} What was answered is kept: run the same command again.`,
        );
      const spent = [...answers.values()].reduce((sum, one) => sum + one.promptTokens + one.completionTokens, 0);
      log(`The teacher's ${answers.size} answers are ${spent} tokens, prompts included.`);
      return questions.map(({ id }) => ({ id, text: answers.get(id)!.text, finish: answers.get(id)!.finish }));
    },
  };
}

/** Responses of a file, by the ids of the questions. Errors: DataError for a question that has none. */
export async function storedTraces(path: string): Promise<TraceSource> {
  const bytes = await readFile(path).catch((error: unknown) => {
    throw fileError(error, 'read', path);
  });
  const rows = new Map<string, TeacherTrace>();
  for await (const { row } of readJsonl(path)) {
    const {
      id,
      text,
      response,
      finish = 'stop',
    } = row as { id?: unknown; text?: string; response?: string; finish?: 'stop' | 'length' };
    rows.set(String(id), { id: String(id), text: text ?? response ?? '', finish });
  }
  return {
    identity: sha256(bytes),
    async responses(questions) {
      const missing = questions.find(({ id }) => !rows.has(id));
      if (missing !== undefined) throw new DataError(`${path}: there is no response to the question '${missing.id}'.`);
      return questions.map(({ id }) => rows.get(id)!);
    },
  };
}

/** Rows for a student: the teacher's own tokens where both have the same, else its text in the student's. */
export function examplesOf(
  questions: readonly Question[],
  traces: readonly TeacherTrace[],
  { tokenizer, encoding, sharesTokens }: { tokenizer: Tokenizer; encoding: ExampleOptions; sharesTokens: boolean },
): TrainingExample[] {
  return questions.map(({ id, row }, index) => {
    const { text, finish, promptTokens, tokens } = traces[index];
    if (sharesTokens && promptTokens !== undefined && tokens !== undefined)
      return { id, tokens: [...promptTokens, ...tokens], responseStart: promptTokens.length };
    const whole =
      row.messages === undefined
        ? { ...row, response: text }
        : { messages: [...row.messages, { role: 'assistant', content: text }] };
    const encoded = encodeExample(tokenizer, whole, encoding);
    const isCut = finish === 'length' && tokenizer.eosTokenIds.includes(encoded.tokens.at(-1) ?? -1);
    return { id, tokens: isCut ? encoded.tokens.slice(0, -1) : encoded.tokens, responseStart: encoded.responseStart };
  });
}
