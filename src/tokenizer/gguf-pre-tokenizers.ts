import type { JsonObject } from './file-checks.js';
import { GPT2_SPLIT, SPELL_BYTES, splitAround } from './pre-tokenizer-rules.js';

/** What the name in `tokenizer.ggml.pre` stands for. */
export interface GgufPreTokenizer {
  readonly steps: readonly JsonObject[];
  readonly normalizer: JsonObject | null;
  /** A piece of text that is a token is taken whole, whatever the merges say. */
  readonly ignoreMerges: boolean;
  /** Whether a text begins with bos where the file does not say. */
  readonly addBos: boolean;
}

const LLAMA3_SPLIT = wordSplit(String.raw`\p{N}{1,3}`);
const QWEN2_SPLIT = wordSplit(String.raw`\p{N}`);

const GPT2 = preTokenizer([GPT2_SPLIT]);
// Digits one by one; GPT-2's split then sees the text between them.
const SMOLLM = preTokenizer([String.raw`\p{N}`, GPT2_SPLIT]);
const LLAMA3: GgufPreTokenizer = { ...preTokenizer([LLAMA3_SPLIT]), ignoreMerges: true, addBos: true };
// Qwen's own tokenizer composes characters (NFC); llama.cpp does not, so ids of decomposed text differ from its ids.
const QWEN2: GgufPreTokenizer = { ...preTokenizer([QWEN2_SPLIT]), normalizer: { type: 'NFC' } };
const DEFAULT = preTokenizer([String.raw`[\p{P}\$\+<=>\^~\|]+`, GPT2_SPLIT, String.raw`\p{N}+`, '[0-9][0-9][0-9]']);

/**
 * The names of `tokenizer.ggml.pre` that are known, with the splits that llama.cpp gives them. An unknown name is refused:
 * a wrong split gives ids that the model never saw, without any error.
 * @see llama.cpp src/llama-vocab.cpp, llm_tokenizer_bpe
 */
export const GGUF_PRE_TOKENIZERS: Readonly<Record<string, GgufPreTokenizer>> = {
  default: DEFAULT,
  'gpt-2': GPT2,
  smollm: SMOLLM,
  starcoder: SMOLLM,
  'llama-bpe': LLAMA3,
  llama3: LLAMA3,
  'llama-v3': LLAMA3,
  qwen2: QWEN2,
  'deepseek-r1-qwen': QWEN2,
};

function preTokenizer(splits: readonly string[]): GgufPreTokenizer {
  return { steps: [...splits.map(splitAround), SPELL_BYTES], normalizer: null, ignoreMerges: false, addBos: false };
}

/** The split that GPT-4 introduced, by how it cuts digits. */
function wordSplit(digits: string): string {
  return (
    String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|` +
    digits +
    String.raw`| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
  );
}
