import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { gunzipSync } from 'node:zlib';
import { sharedPath } from '../support/shared-data.fixture.js';
import { openTokenizer } from './open.js';
import type { ChatMessage, Tokenizer } from './types.js';

/** One small tokenizer of test/parity/golden/tokenizer/small.json, made by generate/tokenizer.py. */
export interface GoldenTokenizer {
  readonly tokenizer: Record<string, unknown>;
  readonly cases: readonly [text: string, ids: number[], decoded: string, decodedWithoutSpecials: string][];
  readonly noise: readonly [ids: number[], decoded: string][];
}

/** One chat template of test/parity/golden/tokenizer/chat.json, made by generate/chat_templates.py. */
export interface GoldenChat {
  readonly template: string;
  readonly bos: string | null;
  readonly eos: string;
  readonly cases: readonly [messages: ChatMessage[], add: boolean, expected: string | { error: string }][];
}

export const smallTokenizers = readGolden<Record<string, GoldenTokenizer>>('small.json');
export const goldenChats = readGolden<Record<string, GoldenChat>>('chat.json');

export function readGolden<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../test/parity/golden/tokenizer/${name}`, import.meta.url), 'utf8'));
}

/** A small tokenizer by name, with the configuration given. */
export function smallTokenizer(
  name: string,
  tokenizerConfig: unknown = { eos_token: '</s>', bos_token: '<s>' },
): Tokenizer {
  return openTokenizer({ kind: 'hugging-face', tokenizerJson: smallTokenizers[name].tokenizer, tokenizerConfig });
}

/** A tokenizer of single bytes that puts bos before a text, with a chat template and the special tokens it names. */
export function chatTokenizer(golden: Pick<GoldenChat, 'template' | 'bos' | 'eos'>): Tokenizer {
  const specials = [golden.eos, ...(golden.bos === null ? [] : [golden.bos])];
  const vocab = Object.fromEntries(
    Array.from({ length: 256 }, (_, byte) => [`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`, byte]),
  );
  const bos = golden.bos ?? golden.eos;
  return openTokenizer({
    kind: 'hugging-face',
    tokenizerJson: {
      added_tokens: specials.map((content, index) => ({ id: 256 + index, content, special: true })),
      model: { type: 'BPE', vocab, merges: [], byte_fallback: true },
      decoder: { type: 'ByteFallback' },
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: bos, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        special_tokens: { [bos]: { id: bos, ids: [specials.indexOf(bos) + 256], tokens: [bos] } },
      },
    },
    tokenizerConfig: { bos_token: golden.bos, eos_token: golden.eos, chat_template: golden.template },
  });
}

/** The Rust library's binding, or undefined where it has no binary for this machine. */
export function rustLibrary(): RustLibrary | undefined {
  try {
    return createRequire(import.meta.url)('tokenizers') as RustLibrary;
  } catch {
    return undefined;
  }
}

interface RustLibrary {
  readonly Tokenizer: { fromString(json: string): RustTokenizer };
}

interface RustTokenizer {
  encode(text: string, pair: null, options: { addSpecialTokens: boolean }): Promise<{ getIds(): number[] }>;
  decode(ids: number[], skipSpecialTokens: boolean): Promise<string>;
}

/** tokenizer.json and tokenizer_config.json of the shared collection; undefined where it is absent. */
export function sharedTokenizer(name: 'gpt2' | 'qwen3'): { json: string; config: unknown } | undefined {
  const path = sharedPath(`data/tokenizers/${name}/tokenizer.json${name === 'qwen3' ? '.gz' : ''}`);
  const configPath = sharedPath(`data/tokenizers/${name}/tokenizer_config.json`);
  if (path === undefined || configPath === undefined) return undefined;
  const bytes = readFileSync(path);
  const json = (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8');
  return { json, config: JSON.parse(readFileSync(configPath, 'utf8')) };
}

/** The text with U+FFFD for every half of a surrogate pair, which no UTF-8 can carry. */
export function wellFormed(text: string): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(new TextEncoder().encode(text));
}
