import { ModelLoadError, messageOf } from '../../support/errors.js';
import { openByteFile } from './byte-file.js';

/** More than any configuration or tokenizer file has (the largest published tokenizer.json is 33 MB). */
const LARGEST_TEXT_BYTES = 2 ** 28;

/**
 * Text of a UTF-8 file of a model.
 * @throws ModelLoadError where it is missing, larger than 256 MB or not UTF-8
 */
export function readModelText(path: string): string {
  const file = openByteFile(path);
  try {
    if (file.sizeBytes > LARGEST_TEXT_BYTES)
      throw new ModelLoadError(
        `${path}: ${file.sizeBytes} bytes are too many for a text file of a model (limit ${LARGEST_TEXT_BYTES}).`,
      );
    const bytes = new Uint8Array(file.sizeBytes);
    file.readAt(0, bytes);
    return decodeUtf8(bytes, path);
  } finally {
    file.dispose();
  }
}

/** @throws ModelLoadError where the file is missing or not JSON */
export function readModelJson(path: string): unknown {
  return parseJson(readModelText(path), path);
}

/** @throws ModelLoadError where the bytes are not UTF-8 */
export function decodeUtf8(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new ModelLoadError(
      `${where}: not UTF-8 text. The file is damaged or not what its name says; download it again.`,
    );
  }
}

/** @throws ModelLoadError where the text is not JSON */
export function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ModelLoadError(`${where}: not valid JSON (${messageOf(error)}). The file is damaged; download it again.`);
  }
}

/**
 * The first key that the object at the top of valid JSON text names twice; `JSON.parse` would silently keep the last value.
 */
export function duplicateKey(text: string): string | undefined {
  const seen = new Set<string>();
  let depth = 0;
  for (let index = 0; index < text.length; index++) {
    const character = text[index];
    if (character === '{' || character === '[') depth++;
    else if (character === '}' || character === ']') depth--;
    else if (character === '"') {
      const end = endOfString(text, index);
      if (depth === 1 && isKey(text, end + 1)) {
        const key = JSON.parse(text.slice(index, end + 1)) as string;
        if (seen.has(key)) return key;
        seen.add(key);
      }
      index = end;
    }
  }
  return undefined;
}

/** Index of the quotation mark that closes the string opened at `start`. */
function endOfString(text: string, start: number): number {
  let index = start + 1;
  while (text[index] !== '"') index += text[index] === '\\' ? 2 : 1;
  return index;
}

function isKey(text: string, index: number): boolean {
  let next = index;
  while (next < text.length && ' \t\r\n'.includes(text[next])) next++;
  return text[next] === ':';
}
