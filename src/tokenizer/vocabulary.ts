import { ModelLoadError } from '../support/errors.js';
import { arrayAt, booleanAt, idAt, type JsonObject, objectAt, refuse, stringAt } from './file-checks.js';

/** A token that is recognised in the text before anything else. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly normalized: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

/** Both directions of a vocabulary: what names an id, and the id of a name. */
export interface Vocabulary {
  readonly tokenById: ReadonlyMap<number, string>;
  readonly idByToken: ReadonlyMap<string, number>;
}

// Memory must follow the tokens that are there, not the largest id a file claims: holes are allowed up to this many ids.
const SMALLEST_ID_LIMIT = 1 << 20;

/**
 * Reads `model.vocab` and `added_tokens` of a tokenizer.json.
 * Throws ModelLoadError for ids that are negative, absurdly large or used twice.
 */
export function readVocabulary(vocab: JsonObject, addedTokens: readonly AddedToken[]): Vocabulary {
  const entries = Object.entries(vocab);
  const limit = idLimit(entries.length + addedTokens.length);
  const tokenById = new Map<number, string>();
  const idByToken = new Map<string, number>();
  const add = (token: string, value: unknown, where: string) => {
    const id = idAt(value, where, limit);
    const other = tokenById.get(id);
    if (other !== undefined && other !== token) {
      throw new ModelLoadError(
        `${where}: id ${id} already names ${JSON.stringify(other)}. Every token needs its own id.`,
      );
    }
    const otherId = idByToken.get(token);
    if (otherId !== undefined && otherId !== id) {
      throw new ModelLoadError(`${where}: the token has id ${otherId} in model.vocab and id ${id} here.`);
    }
    tokenById.set(id, token);
    idByToken.set(token, id);
  };
  for (const [token, id] of entries) add(token, id, `model.vocab[${JSON.stringify(token)}]`);
  for (const { content, id } of addedTokens) add(content, id, `added_tokens (${JSON.stringify(content)})`);
  if (tokenById.size === 0) throw new ModelLoadError('model.vocab: the vocabulary is empty.');
  return { tokenById, idByToken };
}

/** Reads `added_tokens`; absent means none. */
export function readAddedTokens(value: unknown): AddedToken[] {
  if (value === undefined || value === null) return [];
  const list = arrayAt(value, 'added_tokens');
  return list.map((item, index) => {
    const where = `added_tokens[${index}]`;
    const token = objectAt(item, where);
    if (booleanAt(token.single_word, `${where}.single_word`, false)) refuse(`${where}.single_word`, 'false', true);
    const content = stringAt(token.content, `${where}.content`);
    if (content === '') refuse(`${where}.content`, 'a token of at least one character', content);
    const special = booleanAt(token.special, `${where}.special`, false);
    return {
      id: idAt(token.id, `${where}.id`, Number.MAX_SAFE_INTEGER),
      content,
      special,
      normalized: booleanAt(token.normalized, `${where}.normalized`, !special),
      lstrip: booleanAt(token.lstrip, `${where}.lstrip`, false),
      rstrip: booleanAt(token.rstrip, `${where}.rstrip`, false),
    };
  });
}

/**
 * Reads `model.merges`, written as "left right" or [left, right].
 * Throws ModelLoadError for a merge whose parts or result are no tokens.
 */
export function readMerges(value: unknown, idByToken: ReadonlyMap<string, number>): [string, string][] {
  const merges: [string, string][] = [];
  for (const [index, item] of arrayAt(value, 'model.merges').entries()) {
    if (typeof item === 'string' && item.startsWith('#version')) continue;
    const where = `model.merges[${index}]`;
    const parts = typeof item === 'string' ? item.split(' ') : arrayAt(item, where);
    if (parts.length !== 2) refuse(where, 'two tokens', item);
    const left = stringAt(parts[0], where);
    const right = stringAt(parts[1], where);
    for (const token of [left, right, left + right]) {
      if (!idByToken.has(token)) {
        throw new ModelLoadError(
          `${where} (${JSON.stringify(`${left} ${right}`)}): ${JSON.stringify(token)} is not in the vocabulary. ` +
            'The vocabulary and the merges come from different tokenizers.',
        );
      }
    }
    merges.push([left, right]);
  }
  return merges;
}

/** Ids at or above this are refused for a vocabulary of `numTokens`. */
export function idLimit(numTokens: number): number {
  return Math.max(SMALLEST_ID_LIMIT, 4 * numTokens);
}
