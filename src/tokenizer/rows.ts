/** Rows of a file: token ids, text, conversations or traces, all brought to token ids. Formats: docs/formats.md. */
import { ConfigError, DataError } from '../support/errors.js';
import { type EncodedExample, type ExampleOptions, encodeExample, type TextRow } from './example.js';
import type { Tokenizer } from './types.js';

export interface EncodedRow extends EncodedExample {
  readonly id: string | number;
}

export interface RowOptions extends ExampleOptions {
  /** Needed for rows of text; rows of ids do without. */
  readonly tokenizer?: Tokenizer | undefined;
  /** Rows of the embedding: ids at or above are refused. */
  readonly vocabSize: number;
  /** File and line, for messages. */
  readonly where: string;
}

/**
 * Ids of one row and where its response begins. Accepted: `{id, tokens, responseStart?}` (without responseStart every token is
 * response), `{id, promptTokens, tokens}` (a trace), `{id, prompt, response?}`, `{id, messages}`; other keys are ignored.
 * Errors: DataError naming file, line and key.
 */
export function encodeRow(row: unknown, options: RowOptions): EncodedRow {
  const { tokenizer, vocabSize, where } = options;
  const fail = (what: string): never => {
    throw new DataError(`${where}: ${what}`);
  };
  if (typeof row !== 'object' || row === null || Array.isArray(row)) return fail('a row must be an object.');
  const fields = row as Record<string, unknown>;
  const { id } = fields;
  if (typeof id !== 'string' && typeof id !== 'number') return fail('the row has no "id" (text or a number). Add one.');

  const idsOf = (key: string): number[] => {
    const value = fields[key];
    if (!Array.isArray(value)) return fail(`"${key}" must be a list of token ids.`);
    value.forEach((token, index) => {
      if (!Number.isInteger(token) || token < 0 || token >= vocabSize) {
        fail(`"${key}"[${index}] is ${JSON.stringify(token)}; token ids of this model are 0 to ${vocabSize - 1}.`);
      }
    });
    return value as number[];
  };

  if (fields.promptTokens !== undefined) {
    const prompt = idsOf('promptTokens');
    return { id, tokens: [...prompt, ...idsOf('tokens')], responseStart: prompt.length };
  }
  if (fields.tokens !== undefined) {
    const tokens = idsOf('tokens');
    const start = fields.responseStart ?? 0;
    if (typeof start !== 'number' || !Number.isInteger(start) || start < 0 || start > tokens.length) {
      return fail(`"responseStart" is ${JSON.stringify(start)}; expected an index into the ${tokens.length} tokens.`);
    }
    return { id, tokens, responseStart: start };
  }
  if (fields.prompt === undefined && fields.messages === undefined) {
    return fail('the row has none of "tokens", "prompt" and "messages"; it needs one of them.');
  }
  if (tokenizer === undefined) {
    return fail(
      'the row is text, but the model has no tokenizer. Give "tokens", or a model folder with tokenizer.json.',
    );
  }
  try {
    const encoded = encodeExample(tokenizer, fields as unknown as TextRow, options);
    const excess = encoded.tokens.find((token) => token >= vocabSize);
    if (excess !== undefined) {
      return fail(`the tokenizer gives id ${excess}, the model has ${vocabSize} rows: they do not belong together.`);
    }
    return { id, ...encoded };
  } catch (error) {
    const isOfRow = error instanceof DataError || error instanceof ConfigError;
    if (isOfRow && !error.message.startsWith(where)) return fail(error.message);
    throw error;
  }
}
