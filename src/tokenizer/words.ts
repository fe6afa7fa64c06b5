import { ConfigError, DataError } from '../support/errors.js';
import { canonicalJson } from '../support/hash.js';
import { type TokenTable, tokenizerOf } from './token-table.js';
import type { Tokenizer, TokenizerSource } from './types.js';

/**
 * A tokenizer of whole words: the id of a word is its place in the list, text is cut at white space and joined by single
 * spaces. Encoding throws DataError for a word that is not in the list, unless an `unknownToken` is given.
 * Throws ConfigError for a list with empty, repeated or spaced words, or without the tokens named.
 */
export function wordTokenizer(source: Extract<TokenizerSource, { kind: 'words' }>): Tokenizer {
  const { words, bosToken, eosToken, unknownToken } = source;
  if (words.length === 0) throw new ConfigError('words: the word list is empty. Give at least one word.');
  const idByToken = new Map<string, number>();
  for (const [index, word] of words.entries()) {
    if (typeof word !== 'string' || !/^\S+$/.test(word)) {
      throw new ConfigError(
        `words[${index}]: ${JSON.stringify(word)} is not one word; a word has no white space in it.`,
      );
    }
    const earlier = idByToken.get(word);
    if (earlier !== undefined) {
      throw new ConfigError(
        `words[${index}]: ${JSON.stringify(word)} is already words[${earlier}]. Give every word once.`,
      );
    }
    idByToken.set(word, index);
  }
  const roleId = (name: string, token: string | undefined): number | undefined => {
    if (token === undefined) return undefined;
    const id = idByToken.get(token);
    if (id === undefined)
      throw new ConfigError(`${name}: ${JSON.stringify(token)} is not in the word list. Add it to words.`);
    return id;
  };
  const bosTokenId = roleId('bosToken', bosToken);
  const eosTokenId = roleId('eosToken', eosToken);
  const unknownId = roleId('unknownToken', unknownToken);
  const encoder = new TextEncoder();
  const specialIds = new Set([bosTokenId, eosTokenId].filter((id) => id !== undefined));
  const settings = () => canonicalJson({ kind: 'words', unknownToken });
  const table: TokenTable = {
    tokenById: new Map(words.entries()),
    idByToken,
    specialIds,
    addedIds: specialIds,
    assembly: { separator: ' ', strippedSpaces: 0, firstTokenWithoutSpaces: false },
    bytesOfToken: (token) => encoder.encode(token),
    surround: { before: bosTokenId === undefined ? [] : [bosTokenId], after: [] },
    settings,
    cuttingSettings: settings,
    idsOf: (text) => (text.match(/\S+/g) ?? []).map((word, index) => idOfWord(word, index)),
  };
  const idOfWord = (word: string, index: number): number => {
    const id = idByToken.get(word) ?? unknownId;
    if (id !== undefined) return id;
    throw new DataError(
      `word ${index + 1} of the text, ${JSON.stringify(word)}, is not in the vocabulary of ${words.length} words. ` +
        'Use the words of the list, or give an unknownToken.',
    );
  };
  return tokenizerOf(table, {
    bosTokenId,
    eosTokenIds: eosTokenId === undefined ? [] : [eosTokenId],
    padTokenId: undefined,
    chatTemplate: undefined,
  });
}
