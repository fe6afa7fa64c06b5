/** A file of rows, brought to token ids and checked before any work begins. */
import { DataError } from '../support/errors.js';
import { readJsonl } from '../support/jsonl.js';
import { type EncodedRow, encodeRow } from '../tokenizer/rows.js';
import type { Tokenizer } from '../tokenizer/types.js';

export interface ReadRowsOptions {
  readonly tokenizer: Tokenizer | undefined;
  readonly vocabSize: number;
  /** auto: prompts become chat messages where the model has a chat template. */
  readonly chat?: 'auto' | 'never' | undefined;
  readonly log?: ((message: string) => void) | undefined;
  /**
   * refuse (default): an id stands once. samples: the samples of a prompt share an id, told apart by "sample". allow: rows may
   * repeat. The number 1 and the text "1" are the same id.
   */
  readonly repeatedIds?: 'refuse' | 'samples' | 'allow';
}

/** Every row of a file. Errors: DataError naming file and line for a wrong row, a repeated id or a file without rows. */
export async function readRows(path: string, options: ReadRowsOptions): Promise<EncodedRow[]> {
  const { tokenizer, vocabSize, chat = 'auto', log, repeatedIds = 'refuse' } = options;
  const rows: EncodedRow[] = [];
  const lines = new Map<string, number>();
  const onTornLine = ({ line }: { line: number }) =>
    log?.(`${path}:${line}: the last line is cut off and was left out.`);
  for await (const { row, line } of readJsonl(path, { onTornLine })) {
    const where = `${path}:${line}`;
    const encoded = encodeRow(row, { tokenizer, vocabSize, chat, where });
    const { sample } = row as { sample?: unknown };
    const key = repeatedIds === 'samples' && sample !== undefined ? `${encoded.id}\0${sample}` : `${encoded.id}`;
    const before = lines.get(key);
    if (before !== undefined && repeatedIds !== 'allow') {
      throw new DataError(
        `${where}: the id ${JSON.stringify(encoded.id)} is that of line ${before} too. Ids must differ.`,
      );
    }
    lines.set(key, line);
    rows.push(encoded);
  }
  if (rows.length === 0) throw new DataError(`${path}: there are no rows in this file.`);
  return rows;
}
