import { arrayAt, type JsonObject, objectAt, refuse, stringAt } from './file-checks.js';
import { patternAt } from './normalizer-rules.js';
import { prependSchemeOf } from './pre-tokenizer-rules.js';
import type { TextAssembly } from './types.js';

/** How tokens become text: the bytes of one token, and how bytes of several are put together. */
export interface DecodingRules {
  readonly assembly: TextAssembly;
  readonly bytesOfToken: (token: string) => Uint8Array;
}

const CONCATENATE: TextAssembly = { separator: '', strippedSpaces: 0, firstTokenWithoutSpaces: false };
const encoder = new TextEncoder();

/**
 * Reads the `decoder` of a tokenizer.json. None: tokens are whole words, with a space between. Throws ModelLoadError for kinds
 * whose text cannot be emitted token by token (BPEDecoder, WordPiece, CTC).
 *
 * Differs from the Rust library in one place: a run of byte tokens (`<0xE2>`…) that is no valid UTF-8 becomes U+FFFD by the
 * rule of WHATWG, as everywhere else, and not once per byte: a stream could not know before the run's end.
 */
export function decodingRules(value: unknown): DecodingRules {
  if (value === undefined || value === null) {
    return { assembly: { ...CONCATENATE, separator: ' ' }, bytesOfToken: (token) => encoder.encode(token) };
  }
  const rule = objectAt(value, 'decoder');
  if (rule.type === 'ByteLevel') return { assembly: CONCATENATE, bytesOfToken: byteLevelBytes };
  const steps = rule.type === 'Sequence' ? arrayAt(rule.decoders, 'decoder.decoders') : [rule];
  const only = steps.length === 1 ? objectAt(steps[0], 'decoder.decoders[0]') : undefined;
  if (only?.type === 'ByteLevel') return { assembly: CONCATENATE, bytesOfToken: byteLevelBytes };
  return sentencePieceRules(steps);
}

function sentencePieceRules(steps: readonly unknown[]): DecodingRules {
  const replacements: [from: string, to: string][] = [];
  let byteFallback = false;
  let fused = false;
  let strippedSpaces = 0;
  let firstTokenWithoutSpaces = false;
  for (const [index, item] of steps.entries()) {
    const where = `decoder.decoders[${index}]`;
    const step = objectAt(item, where);
    if (step.type === 'Fuse') fused = true;
    else if (step.type === 'ByteFallback' && !fused) byteFallback = true;
    else if (step.type === 'Strip' && fused) strippedSpaces += strippedSpacesOf(step, where);
    else if (step.type === 'Replace' && !fused && !byteFallback) replacements.push(replacementOf(step, where));
    else if (step.type === 'Metaspace' && !fused && !byteFallback) {
      replacements.push([stringAt(step.replacement ?? '▁', `${where}.replacement`), ' ']);
      firstTokenWithoutSpaces = prependSchemeOf(step, where) !== 'never';
    } else {
      refuse(
        `${where}.type`,
        'ByteLevel alone, or Replace, Metaspace, ByteFallback, Fuse, Strip in that order',
        step.type,
      );
    }
  }
  const bytesOfToken = (token: string): Uint8Array => {
    const text = replacements.reduce((current, [from, to]) => current.replaceAll(from, () => to), token);
    const byte = byteFallback ? byteOfName(text) : undefined;
    return byte === undefined ? encoder.encode(text) : Uint8Array.of(byte);
  };
  return { assembly: { separator: '', strippedSpaces, firstTokenWithoutSpaces }, bytesOfToken };
}

function replacementOf(step: JsonObject, where: string): [string, string] {
  const pattern = patternAt(step.pattern, `${where}.pattern`);
  if (!('String' in pattern)) refuse(`${where}.pattern`, 'a String', 'a Regex');
  return [pattern.String, stringAt(step.content, `${where}.content`)];
}

function strippedSpacesOf(step: JsonObject, where: string): number {
  if (step.content !== ' ') refuse(`${where}.content`, 'a space', step.content);
  if (step.stop !== 0) refuse(`${where}.stop`, '0', step.stop);
  if (!Number.isInteger(step.start) || Number(step.start) < 0) refuse(`${where}.start`, 'a count', step.start);
  return Number(step.start);
}

/** 10 for `<0x0A>`; undefined for any other token. */
function byteOfName(token: string): number | undefined {
  const digits = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1];
  return digits === undefined ? undefined : Number.parseInt(digits, 16);
}

// GPT-2 spells bytes that print as themselves and the others as the letters from U+0100 on.
const BYTE_OF_LETTER: ReadonlyMap<number, number> = (() => {
  const table = new Map<number, number>();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    table.set(printable ? byte : next++, byte);
  }
  return table;
})();

/** Bytes of a token in GPT-2's alphabet; a token with any other letter (an added one) stands for itself. */
function byteLevelBytes(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = BYTE_OF_LETTER.get(token.charCodeAt(i));
    if (byte === undefined) return encoder.encode(token);
    bytes[i] = byte;
  }
  return bytes;
}
