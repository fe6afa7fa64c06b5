import { ModelLoadError } from '../support/errors.js';
import { ggufTokenizer } from './gguf.js';
import { huggingFaceTokenizer } from './hugging-face.js';
import type { Tokenizer, TokenizerSource } from './types.js';
import { wordTokenizer } from './words.js';

/**
 * Opens the tokenizer of a checkpoint, or one of plain words. Throws ModelLoadError for broken, hostile or unknown tokenizer
 * files and ConfigError for a bad word list; never allocates by what a file merely claims.
 */
export function openTokenizer(source: TokenizerSource): Tokenizer {
  try {
    switch (source.kind) {
      case 'hugging-face':
        return huggingFaceTokenizer(source);
      case 'gguf':
        return ggufTokenizer(source.metadata);
      case 'words':
        return wordTokenizer(source);
    }
  } catch (error) {
    // Rules inside rules inside rules…: no real file is deep enough to fill the stack.
    if (error instanceof RangeError) throw new ModelLoadError(`tokenizer: nested too deeply (${error.message}).`);
    throw error;
  }
}
