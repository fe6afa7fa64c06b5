/** Text to ids and back, seen by the rest of the program. */

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

/** How the pieces of a text are put together again, beside concatenating their bytes. */
export interface TextAssembly {
  /** Stands between any two tokens: a space for vocabularies of whole words. */
  readonly separator: '' | ' ';
  /** SentencePiece writes a space before the text: this many are taken from its very start. */
  readonly strippedSpaces: number;
  /** The Metaspace decoder drops every space of the first token. */
  readonly firstTokenWithoutSpaces: boolean;
}

export interface Tokenizer {
  /** One past the largest id that names a token; the model's embedding may have more rows. */
  readonly vocabSize: number;
  readonly bosTokenId: number | undefined;
  /** Ids that end a turn or a text. */
  readonly eosTokenIds: readonly number[];
  readonly padTokenId: number | undefined;
  /** Jinja source of the chat template, if the checkpoint has one. */
  readonly chatTemplate: string | undefined;
  readonly assembly: TextAssembly;
  /** SHA-256 over ids, tokens and all settings: equal fingerprints give equal ids. */
  readonly fingerprint: string;
  /** SHA-256 over the rules that cut a text between its added tokens: merges, normaliser, pre-tokenizer. */
  readonly cuttingFingerprint: string;
  /** Ids of a text. `addSpecialTokens` (default true) adds what the tokenizer itself adds (bos). */
  encode(text: string, options?: { addSpecialTokens?: boolean }): number[];
  /** Text of ids; `skipSpecialTokens` default false. Ids that name no token: DataError. Bytes that are no UTF-8 become U+FFFD. */
  decode(ids: readonly number[], options?: { skipSpecialTokens?: boolean }): string;
  /** The token's own spelling in the vocabulary file, or undefined where no token has that id. */
  tokenOf(id: number): string | undefined;
  idOf(token: string): number | undefined;
  isSpecial(id: number): boolean;
  /** Whether it stands beside the vocabulary that texts are cut into: special tokens, and such as `<think>` that no text is without. */
  isAdded(id: number): boolean;
  /** Bytes that this token contributes to the text (needed to detokenise piece by piece); empty for special tokens. */
  bytesOf(id: number): Uint8Array;
}

/** The parts of a checkpoint a tokenizer is made of; `model/` fills it from a folder, a GGUF file or the hub. */
export type TokenizerSource =
  | {
      readonly kind: 'hugging-face';
      /** Content of tokenizer.json. */
      readonly tokenizerJson: unknown;
      /** Content of tokenizer_config.json, if there. */
      readonly tokenizerConfig?: unknown;
      /** Content of generation_config.json, if there. */
      readonly generationConfig?: unknown;
      /** Content of chat_template.jinja, if there (wins over tokenizer_config). */
      readonly chatTemplate?: string;
    }
  | {
      readonly kind: 'gguf';
      /** The `tokenizer.*` keys of the GGUF metadata. */
      readonly metadata: Readonly<Record<string, unknown>>;
    }
  | {
      readonly kind: 'words';
      /** One token each; text is split at white space. */
      readonly words: readonly string[];
      readonly eosToken?: string;
      readonly bosToken?: string;
      readonly unknownToken?: string;
    };
