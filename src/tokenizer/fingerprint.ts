import { createHash } from 'node:crypto';
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
    const [left, right] = [describeId(a, id), describeId(b, id)];
    if (left !== right) return `id ${id} is ${left} in ${names[0]} and ${right} in ${names[1]}`;
  }
  return `${names[0]} and ${names[1]} have the same tokens but cut or join text differently (merges, normaliser or pre-tokenizer)`;
}

function describeId(tokenizer: Tokenizer, id: number): string {
  const token = tokenizer.tokenOf(id);
  if (token === undefined) return 'no token';
  const bytes = Buffer.from(tokenizer.bytesOf(id)).toString('hex');
  return tokenizer.isSpecial(id)
    ? `the special token ${JSON.stringify(token)}`
    : `${JSON.stringify(token)} (bytes ${bytes})`;
}
