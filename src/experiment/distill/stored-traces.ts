/** A teacher whose responses lie in a file. */
import { readFile } from 'node:fs/promises';
import { DataError } from '../../support/errors.js';
import { fileError } from '../../support/files.js';
import { sha256 } from '../../support/hash.js';
import { readJsonl } from '../../support/jsonl.js';
import type { TeacherTrace, TraceSource } from './traces.js';

/** Responses of a file, rows with id and `text` or `response`. Errors: DataError for a row without, and for a question that has no row. */
export async function storedTraces(path: string): Promise<TraceSource> {
  const bytes = await readFile(path).catch((error: unknown) => {
    throw fileError(error, 'read', path);
  });
  const rows = new Map<string, TeacherTrace>();
  for await (const { row, line } of readJsonl(path)) {
    const { id, text, response, finish } = (row ?? {}) as Readonly<Record<string, unknown>>;
    const said = text ?? response;
    if ((typeof id !== 'string' && typeof id !== 'number') || typeof said !== 'string')
      throw new DataError(`${path}:${line}: expected a row with "id" and "text" (or "response").`);
    rows.set(String(id), { id: String(id), text: said, finish: finish === 'length' ? 'length' : 'stop' });
  }
  return {
    identity: sha256(bytes),
    async responses(questions) {
      const missing = questions.filter(({ id }) => !rows.has(id));
      if (missing.length > 0)
        throw new DataError(
          `${path}: there is no response to the question '${missing[0].id}' (${missing.length} of ${questions.length} have none). Rows are matched by id; ask fewer questions (traces.count) or add rows.`,
        );
      return questions.map(({ id }) => rows.get(id)!);
    },
    known: async (questions) =>
      new Map(questions.flatMap(({ id }) => (rows.has(id) ? [[id, rows.get(id)!.text]] : []))),
    spend: () => null,
  };
}
