import { DataError } from '../support/errors.js';
import type { Tokenizer } from './types.js';

/** Ids in, text out, as soon as it is certain. */
export interface Detokenizer {
  /** The text that this id completes: whole characters only, possibly none. Throws DataError for an id that names no token. */
  push(id: number): string;
  /** What is left: U+FFFD where the last character never came to an end. The detokenizer then begins a new text. */
  flush(): string;
}

const SPACE = 0x20;

/**
 * Turns ids into text one at a time. All pushes and the flush, put together, are `tokenizer.decode` of all ids; bytes that
 * are no UTF-8 become U+FFFD as the WHATWG decoder (and Rust's `from_utf8_lossy`) has it.
 */
export function createDetokenizer(
  tokenizer: Tokenizer,
  { skipSpecialTokens = false }: { readonly skipSpecialTokens?: boolean } = {},
): Detokenizer {
  const { separator, strippedSpaces, firstTokenWithoutSpaces } = tokenizer.assembly;
  const encoder = new TextEncoder();
  // A byte order mark is text of the model's like any other.
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let isFirst = true;
  let spacesToStrip = strippedSpaces;

  const push = (id: number): string => {
    const token = tokenizer.tokenOf(id);
    if (token === undefined) throw noSuchId(id, tokenizer.vocabSize);
    const special = tokenizer.isSpecial(id);
    if (special && skipSpecialTokens) return '';
    let bytes = special ? encoder.encode(token) : tokenizer.bytesOf(id);
    if (isFirst && firstTokenWithoutSpaces && !special) bytes = bytes.filter((byte) => byte !== SPACE);
    const between = isFirst ? '' : separator;
    isFirst = false;
    while (spacesToStrip > 0 && bytes.length > 0) {
      const isSpace = bytes[0] === SPACE;
      if (isSpace) bytes = bytes.subarray(1);
      spacesToStrip = isSpace ? spacesToStrip - 1 : 0;
    }
    return between + decoder.decode(bytes, { stream: true });
  };
  const flush = (): string => {
    isFirst = true;
    spacesToStrip = strippedSpaces;
    return decoder.decode();
  };
  return { push, flush };
}

/** The error for an id outside the vocabulary. */
export function noSuchId(id: number, vocabSize: number): DataError {
  return new DataError(
    `id ${id} names no token: this tokenizer's ids run from 0 to ${vocabSize - 1}. Were the ids made with another tokenizer?`,
  );
}
