import { ModelLoadError } from '../support/errors.js';
import { idAt, type JsonObject, objectAt, stringAt } from './file-checks.js';
import { type TokenTable, tokenizerOf } from './token-table.js';
import { readTokenizerFile } from './tokenizer-file.js';
import type { Tokenizer, TokenizerSource } from './types.js';

/**
 * The tokenizer of a Hugging Face checkpoint. Roles of tokens come from tokenizer_config.json, further ids that end a text
 * from generation_config.json, the chat template from chat_template.jinja or else tokenizer_config.json.
 * Throws ModelLoadError for broken files.
 */
export function huggingFaceTokenizer(source: Extract<TokenizerSource, { kind: 'hugging-face' }>): Tokenizer {
  const table = readTokenizerFile(source.tokenizerJson);
  const config = objectAt(source.tokenizerConfig ?? {}, 'tokenizer_config.json');
  const generation = objectAt(source.generationConfig ?? {}, 'generation_config.json');
  const eosTokenIds = [roleId(config, 'eos_token', table), ...idList(generation, 'eos_token_id', table)];
  return tokenizerOf(table, {
    bosTokenId:
      'bos_token' in config ? roleId(config, 'bos_token', table) : idList(generation, 'bos_token_id', table)[0],
    eosTokenIds: [...new Set(eosTokenIds.filter((id) => id !== undefined))],
    padTokenId:
      'pad_token' in config ? roleId(config, 'pad_token', table) : idList(generation, 'pad_token_id', table)[0],
    chatTemplate: source.chatTemplate ?? chatTemplateOf(config.chat_template),
  });
}

/** A token is written as text or as an object with its `content`. */
function roleId(config: JsonObject, key: string, table: TokenTable): number | undefined {
  const value = config[key] ?? undefined;
  if (value === undefined) return undefined;
  const where = `tokenizer_config.json ${key}`;
  const token = typeof value === 'string' ? value : stringAt(objectAt(value, where).content, `${where}.content`);
  const id = table.idByToken.get(token);
  if (id === undefined) throw new ModelLoadError(`${where}: ${JSON.stringify(token)} is not in the vocabulary.`);
  return id;
}

/** Ids of generation_config.json that name a token; a configuration may name rows beyond the vocabulary. */
function idList(generation: JsonObject, key: string, table: TokenTable): number[] {
  const value = generation[key] ?? [];
  const ids = (Array.isArray(value) ? value : [value]).map((id) =>
    idAt(id, `generation_config.json ${key}`, Number.MAX_SAFE_INTEGER),
  );
  return ids.filter((id) => table.tokenById.has(id));
}

/** One template, or several with names, of which "default" is the one for chats. */
function chatTemplateOf(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) return stringAt(value, 'tokenizer_config.json chat_template');
  const entries = value.map((item, index) => objectAt(item, `tokenizer_config.json chat_template[${index}]`));
  const entry = entries.find((item) => item.name === 'default');
  return entry && stringAt(entry.template, 'tokenizer_config.json chat_template "default"');
}
