import { ModelLoadError } from '../support/errors.js';
import { sha256 } from '../support/hash.js';
import { createDetokenizer, noSuchId } from './detokenizer.js';
import { fingerprintOf } from './fingerprint.js';
import type { Surround } from './post-processor.js';
import type { TextAssembly, Tokenizer } from './types.js';
import type { Vocabulary } from './vocabulary.js';

/** A vocabulary with its rules, as read from any source. */
export interface TokenTable extends Vocabulary {
  readonly specialIds: ReadonlySet<number>;
  /** The special ones among them. */
  readonly addedIds: ReadonlySet<number>;
  readonly assembly: TextAssembly;
  readonly bytesOfToken: (token: string) => Uint8Array;
  /** What encoding adds by default. */
  readonly surround: Surround;
  /** Text of all settings that shape ids, for the fingerprint. */
  readonly settings: () => string;
  /** Text of those that cut a text between its added tokens. */
  readonly cuttingSettings: () => string;
  /** Ids of a text without what `surround` adds. */
  readonly idsOf: (text: string) => number[];
}

/** Which ids have a role, and the chat template; ids must name tokens. */
export interface Roles {
  readonly bosTokenId: number | undefined;
  readonly eosTokenIds: readonly number[];
  readonly padTokenId: number | undefined;
  readonly chatTemplate: string | undefined;
}

const EMPTY = new Uint8Array(0);

/** The tokenizer over a table. Throws ModelLoadError where a role is given to an id that names no token. */
export function tokenizerOf(table: TokenTable, roles: Roles): Tokenizer {
  const { tokenById, idByToken, specialIds, surround } = table;
  for (const id of [roles.bosTokenId, ...roles.eosTokenIds, roles.padTokenId]) {
    if (id !== undefined && !tokenById.has(id)) {
      throw new ModelLoadError(`tokenizer: the bos, eos or padding id ${id} names no token of the vocabulary.`);
    }
  }
  let largest = 0;
  for (const id of tokenById.keys()) largest = Math.max(largest, id);
  let fingerprint: string | undefined;
  let cuttingFingerprint: string | undefined;
  const tokenizer: Tokenizer = {
    ...roles,
    vocabSize: largest + 1,
    assembly: table.assembly,
    get fingerprint() {
      fingerprint ??= fingerprintOf(tokenizer, table.settings());
      return fingerprint;
    },
    get cuttingFingerprint() {
      cuttingFingerprint ??= sha256(table.cuttingSettings());
      return cuttingFingerprint;
    },
    encode(text, { addSpecialTokens = true } = {}) {
      const ids = table.idsOf(text);
      return addSpecialTokens ? [...surround.before, ...ids, ...surround.after] : ids;
    },
    decode(ids, { skipSpecialTokens = false } = {}) {
      const detokenizer = createDetokenizer(tokenizer, { skipSpecialTokens });
      const pieces = ids.map((id) => detokenizer.push(id));
      return pieces.join('') + detokenizer.flush();
    },
    tokenOf: (id) => tokenById.get(id),
    idOf: (token) => idByToken.get(token),
    isSpecial: (id) => specialIds.has(id),
    isAdded: (id) => table.addedIds.has(id),
    bytesOf(id) {
      const token = tokenById.get(id);
      if (token === undefined) throw noSuchId(id, largest + 1);
      return specialIds.has(id) ? EMPTY : table.bytesOfToken(token);
    },
  };
  return tokenizer;
}
