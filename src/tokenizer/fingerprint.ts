import { createHash } from 'node:crypto';
import { canonicalJson } from '../support/hash.js';
import type { Tokenizer } from './types.js';

/**
 * SHA-256 over every (id, token, bytes, special) and the settings that shape ids. Equal fingerprints give equal ids for
 * every text; the reverse does not hold, as one behaviour can be written in several ways.
 */
export function fingerprintOf(tokenizer: Tokenizer, settings: string): string {
  const hash = createHash('sha256').update(JSON.stringify(settings));
  hash.update(JSON.stringify([tokenizer.bosTokenId ?? null, tokenizer.assembly]));
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    const token = tokenizer.tokenOf(id);
    if (token === undefined) continue;
    // The token is quoted and its bytes follow from it, so no two tables run together into the same input.
    hash.update(`\n${id} ${tokenizer.isSpecial(id) ? 1 : 0} ${JSON.stringify(token)} `).update(tokenizer.bytesOf(id));
  }
  return hash.digest('hex');
}

/**
 * Says where two tokenizers differ: the first id that names different tokens, or a difference of settings alone;
 * undefined where they give the same ids for every text. Teacher and student must share a vocabulary, so the sentence is made
 * for an error message; `a` and `b` are named `names[0]` and `names[1]`.
 */
export function describeFirstDifference(
  a: Tokenizer,
  b: Tokenizer,
  names: readonly [string, string] = ['the first tokenizer', 'the second'],
): string | undefined {
  if (a.fingerprint === b.fingerprint) return undefined;
  for (let id = 0; id < Math.max(a.vocabSize, b.vocabSize); id++) {
    if (describeId(a, id) !== describeId(b, id)) return describeAt(id, [a, b], names);
  }
  return describeSettings(names);
}

/** How far two tokenizers must agree: in everything, or in everything but added (special) tokens. */
export const TOKENIZER_MATCHES = ['equal', 'except-special'] as const;

export type TokenizerMatch = (typeof TOKENIZER_MATCHES)[number];

/**
 * Compares tokenizers that may differ in added tokens. `unsharedIds`, rising: ids that name different added tokens, or one in one of
 * them alone; every other id means the same, and text between added tokens is cut alike. Whether a token counts as special and
 * what is put around a text do not matter. `difference`: the first other one, as a sentence.
 */
export function compareOrdinaryTokens(
  a: Tokenizer,
  b: Tokenizer,
  names: readonly [string, string],
): { readonly unsharedIds: readonly number[] } | { readonly difference: string } {
  const unsharedIds: number[] = [];
  if (a.fingerprint === b.fingerprint) return { unsharedIds };
  const isOrdinary = (tokenizer: Tokenizer, id: number) =>
    tokenizer.tokenOf(id) !== undefined && !tokenizer.isAdded(id);
  for (let id = 0; id < Math.max(a.vocabSize, b.vocabSize); id++) {
    const isNamedAlike = a.tokenOf(id) === b.tokenOf(id);
    const [isLeft, isRight] = [isOrdinary(a, id), isOrdinary(b, id)];
    if (isNamedAlike ? isLeft && isRight && describeId(a, id) !== describeId(b, id) : isLeft || isRight) {
      return { difference: describeAt(id, [a, b], names) };
    }
    if (!isNamedAlike) unsharedIds.push(id);
  }
  const isCutAlike = a.cuttingFingerprint === b.cuttingFingerprint;
  const isJoinedAlike = canonicalJson(a.assembly) === canonicalJson(b.assembly);
  return isCutAlike && isJoinedAlike ? { unsharedIds } : { difference: describeSettings(names) };
}

function describeAt(id: number, [a, b]: readonly [Tokenizer, Tokenizer], names: readonly [string, string]): string {
  return `id ${id} is ${describeId(a, id)} in ${names[0]} and ${describeId(b, id)} in ${names[1]}`;
}

const describeSettings = ([a, b]: readonly [string, string]): string =>
  `${a} and ${b} have the same tokens but cut or join text differently (merges, normaliser or pre-tokenizer)`;

function describeId(tokenizer: Tokenizer, id: number): string {
  const token = tokenizer.tokenOf(id);
  if (token === undefined) return 'no token';
  const bytes = Buffer.from(tokenizer.bytesOf(id)).toString('hex');
  return tokenizer.isSpecial(id)
    ? `the special token ${JSON.stringify(token)}`
    : `${JSON.stringify(token)} (bytes ${bytes})`;
}
