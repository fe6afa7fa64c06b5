/** A file of rows, brought to token ids and checked before any work begins. */
import { ConfigError, DataError } from '../support/errors.js';
import { readJsonl } from '../support/jsonl.js';
import { type EncodedRow, encodeRow } from '../tokenizer/rows.js';
import type { Tokenizer } from '../tokenizer/types.js';

export interface ReadRowsOptions {
  readonly tokenizer: Tokenizer | undefined;
  readonly vocabSize: number;
  /** auto: prompts become chat messages where the model has a chat template. */
  readonly chat?: 'auto' | 'never' | undefined;
  /** Date (2024-07-26) that a chat template writes where it asks for one, as those of Llama 3 do; default today. */
  readonly chatDate?: string | undefined;
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
  const now = chatTime(options.chatDate);
  let isDateTold = options.chatDate !== undefined || !tokenizer?.chatTemplate?.includes('strftime_now');
  const rows: EncodedRow[] = [];
  const lines = new Map<string, number>();
  const onTornLine = ({ line }: { line: number }) =>
    log?.(`${path}:${line}: the last line is cut off and was left out.`);
  for await (const { row, line } of readJsonl(path, { onTornLine })) {
    const where = `${path}:${line}`;
    const encoded = encodeRow(row, { tokenizer, vocabSize, chat, where, now });
    if (!isDateTold && chat === 'auto' && hasText(row)) {
      isDateTold = true;
      log?.(`The chat template writes the date into prompts. To continue on another day: chatDate ${dateOf(now)}.`);
    }
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

/** The time that chat templates are told. Errors: ConfigError for text that is no date. */
export function chatTime(chatDate: string | undefined): Date {
  if (chatDate === undefined) return new Date();
  const time = new Date(`${chatDate}T00:00:00Z`);
  if (Number.isNaN(time.getTime()) || dateOf(time) !== chatDate) {
    throw new ConfigError(`chatDate is ${JSON.stringify(chatDate)}; expected a date such as 2024-07-26.`);
  }
  return time;
}

const dateOf = (time: Date): string => time.toISOString().slice(0, 10);

function hasText(row: unknown): boolean {
  const { tokens, promptTokens } = row as { tokens?: unknown; promptTokens?: unknown };
  return tokens === undefined && promptTokens === undefined;
}
