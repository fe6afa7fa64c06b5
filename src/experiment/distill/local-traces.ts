/** A teacher in memory. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Trace } from '../../inference/trace.js';
import type { OpenedModel } from '../../jobs/open-model.js';
import { writeFileAtomic } from '../../support/files.js';
import { sha256OfJson } from '../../support/hash.js';
import { readJsonl } from '../../support/jsonl.js';
import { ask } from '../stages/ask.js';
import type { TeacherTrace, TraceContext, TraceSource } from './traces.js';

/** Questions answered and written at once by a model in memory, in batches. */
const CHUNK_BATCHES = 4;

/** Chunks are made in one go and written whole, so that stopping changes no digit. */
export function localTraces(
  { task, config, folder, signal, onProgress }: TraceContext,
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
            let numAnswered = start;
            const part = questions.slice(start, start + size);
            const asked = await ask(opened, part, {
              task,
              sampler: { temperature },
              seed: config.teacher.seed,
              maxTokens,
              maxBatch,
              signal,
              onTrace() {
                numAnswered += 1;
                onProgress(numAnswered, questions.length, '');
              },
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
    known: async () => new Map(),
    spend: () => null,
  };
}

const rowOf = ({ id, text, finish, promptTokens, tokens }: Trace): TeacherTrace => ({
  id,
  text,
  finish,
  promptTokens,
  tokens,
});
