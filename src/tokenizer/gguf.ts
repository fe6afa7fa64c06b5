import { ModelLoadError } from '../support/errors.js';
import { arrayAt, booleanAt, idAt, refuse, stringAt } from './file-checks.js';
import { GGUF_PRE_TOKENIZERS } from './gguf-pre-tokenizers.js';
import { mergesFromScores } from './sentence-piece.js';
import { tokenizerOf } from './token-table.js';
import { readTokenizerFile } from './tokenizer-file.js';
import type { Tokenizer, TokenizerSource } from './types.js';

type Metadata = Extract<TokenizerSource, { kind: 'gguf' }>['metadata'];

/** The values of `tokenizer.ggml.token_type` that matter here. */
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;
/** Rows that only pad the vocabulary to a round number: no token has these ids. */
const UNUSED = 5;

// llama.cpp ends a text at a control token of any of these spellings, whatever the file names as eos.
const END_TOKENS = new Set([
  '<|eot_id|>',
  '<|im_end|>',
  '<|end|>',
  '<end_of_turn>',
  '<|endoftext|>',
  '<|end_of_text|>',
  '<|eom_id|>',
  '<｜end▁of▁sentence｜>',
]);

/**
 * The tokenizer inside a GGUF file: byte-level BPE (`gpt2`) or SentencePiece BPE (`llama`), translated into an equivalent
 * tokenizer.json. Throws ModelLoadError for missing or broken keys and for kinds it does not know.
 */
export function ggufTokenizer(metadata: Metadata): Tokenizer {
  const { file, before, after, roles } = translate(metadata);
  return tokenizerOf({ ...readTokenizerFile(file), surround: { before, after } }, roles);
}

/**
 * The same tokenizer as the files of a Hugging Face folder, by name, so that a model trained from a GGUF file is a checkpoint
 * like any other. Throws as `ggufTokenizer` does.
 */
export function ggufTokenizerFiles(metadata: Metadata): Record<string, string> {
  const { file, before, after, roles } = translate(metadata);
  const textOf = (id: number | undefined) =>
    id === undefined ? undefined : arrayAt(metadata['tokenizer.ggml.tokens'], 'tokenizer.ggml.tokens')[id];
  const special = (id: number) => ({ SpecialToken: { id: textOf(id), type_id: 0 } });
  const surrounding = [...new Set([...before, ...after])];
  const template = {
    type: 'TemplateProcessing',
    single: [...before.map(special), { Sequence: { id: 'A', type_id: 0 } }, ...after.map(special)],
    pair: [...before.map(special), { Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
    special_tokens: Object.fromEntries(
      surrounding.map((id) => [textOf(id), { id: textOf(id), ids: [id], tokens: [textOf(id)] }]),
    ),
  };
  const tokenizerJson = {
    version: '1.0',
    truncation: null,
    padding: null,
    post_processor: surrounding.length > 0 ? template : null,
    normalizer: null,
    ...file,
    added_tokens: file.added_tokens.map((token) => ({ single_word: false, lstrip: false, rstrip: false, ...token })),
  };
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: textOf(roles.bosTokenId) ?? null,
    eos_token: textOf(roles.eosTokenIds[0]) ?? null,
    pad_token: textOf(roles.padTokenId) ?? null,
    chat_template: roles.chatTemplate ?? null,
    clean_up_tokenization_spaces: false,
  };
  return {
    'tokenizer.json': `${JSON.stringify(tokenizerJson)}\n`,
    'tokenizer_config.json': `${JSON.stringify(config, null, 2)}\n`,
  };
}

interface Translation {
  readonly file: Readonly<Record<string, unknown>> & {
    readonly added_tokens: readonly { id: number; content: string; special: boolean; normalized: boolean }[];
  };
  /** Ids put before and after every text. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly roles: Parameters<typeof tokenizerOf>[1];
}

function translate(metadata: Metadata): Translation {
  const key = (name: string): unknown => metadata[`tokenizer.ggml.${name}`];
  const tokens = arrayAt(key('tokens'), 'tokenizer.ggml.tokens').map((token, id) =>
    stringAt(token, `tokenizer.ggml.tokens[${id}]`),
  );
  const types = tokenTypes(key('token_type'), tokens.length);
  const model = stringAt(key('model'), 'tokenizer.ggml.model');
  const vocab = vocabOf(tokens, types);
  const kind =
    model === 'gpt2' ? byteLevel(metadata, vocab) : model === 'llama' ? sentencePiece(metadata, vocab) : undefined;
  if (kind === undefined) return refuse('tokenizer.ggml.model', 'gpt2 or llama', model);

  const roleId = (name: string): number | undefined => {
    const value = key(`${name}_token_id`) ?? undefined;
    return value === undefined ? undefined : idAt(value, `tokenizer.ggml.${name}_token_id`, tokens.length);
  };
  const bosTokenId = roleId('bos');
  const eosTokenId = roleId('eos');
  const endIds = tokens.flatMap((token, id) => (types[id] === CONTROL && END_TOKENS.has(token) ? [id] : []));
  const before = booleanAt(key('add_bos_token'), 'tokenizer.ggml.add_bos_token', kind.addBos) ? [bosTokenId] : [];
  const after = booleanAt(key('add_eos_token'), 'tokenizer.ggml.add_eos_token', false) ? [eosTokenId] : [];
  const file = {
    ...kind.file,
    added_tokens: tokens.flatMap((content, id) => {
      const special = types[id] === CONTROL || types[id] === UNKNOWN;
      return special || types[id] === USER_DEFINED ? [{ id, content, special, normalized: false }] : [];
    }),
  };
  const chatTemplate = metadata['tokenizer.chat_template'] ?? undefined;
  return {
    file,
    before: before.filter(isId),
    after: after.filter(isId),
    roles: {
      bosTokenId,
      eosTokenIds: [...new Set([eosTokenId, roleId('eot'), roleId('eom'), ...endIds].filter(isId))],
      padTokenId: roleId('padding'),
      chatTemplate: chatTemplate === undefined ? undefined : stringAt(chatTemplate, 'tokenizer.chat_template'),
    },
  };
}

interface FileParts {
  readonly file: Readonly<Record<string, unknown>>;
  readonly addBos: boolean;
}

function byteLevel(metadata: Metadata, vocab: ReadonlyMap<string, number>): FileParts {
  const name = metadata['tokenizer.ggml.pre'] ?? 'default';
  const rules =
    typeof name === 'string' && Object.hasOwn(GGUF_PRE_TOKENIZERS, name) ? GGUF_PRE_TOKENIZERS[name] : undefined;
  if (rules === undefined) return refuse('tokenizer.ggml.pre', Object.keys(GGUF_PRE_TOKENIZERS).join(', '), name);
  return {
    addBos: rules.addBos,
    file: {
      normalizer: rules.normalizer,
      pre_tokenizer: { type: 'Sequence', pretokenizers: rules.steps },
      decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
      model: {
        type: 'BPE',
        vocab: Object.fromEntries(vocab),
        merges: arrayAt(metadata['tokenizer.ggml.merges'], 'tokenizer.ggml.merges'),
        ignore_merges: rules.ignoreMerges,
      },
    },
  };
}

function sentencePiece(metadata: Metadata, vocab: ReadonlyMap<string, number>): FileParts {
  const scores = arrayAt(metadata['tokenizer.ggml.scores'], 'tokenizer.ggml.scores');
  const prefixed = booleanAt(metadata['tokenizer.ggml.add_space_prefix'], 'tokenizer.ggml.add_space_prefix', true);
  const toMark = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
  const strip = { type: 'Strip', content: ' ', start: 1, stop: 0 };
  const unknownId = metadata['tokenizer.ggml.unknown_token_id'] ?? undefined;
  const unknown = [...vocab].find(([, id]) => unknownId !== undefined && id === Number(unknownId))?.[0];
  return {
    addBos: true,
    file: {
      normalizer: { type: 'Sequence', normalizers: [...(prefixed ? [{ type: 'Prepend', prepend: '▁' }] : []), toMark] },
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
          ...(prefixed ? [strip] : []),
        ],
      },
      model: {
        type: 'BPE',
        vocab: Object.fromEntries(vocab),
        merges: mergesFromScores(vocab, scores),
        byte_fallback: true,
        fuse_unk: true,
        unk_token: unknown ?? null,
      },
    },
  };
}

/** Ids by token, without the rows that name none. */
function vocabOf(tokens: readonly string[], types: readonly unknown[]): Map<string, number> {
  const vocab = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    if (types[id] === UNUSED) continue;
    const other = vocab.get(token);
    if (other !== undefined) {
      throw new ModelLoadError(`tokenizer.ggml.tokens: ${JSON.stringify(token)} is both id ${other} and id ${id}.`);
    }
    vocab.set(token, id);
  }
  return vocab;
}

/** Kinds of the tokens; without the key all are ordinary. */
function tokenTypes(value: unknown, numTokens: number): readonly unknown[] {
  if (value === undefined || value === null) return [];
  const types = arrayAt(value, 'tokenizer.ggml.token_type');
  if (types.length !== numTokens) refuse('tokenizer.ggml.token_type', `${numTokens} entries`, types);
  return types;
}

function isId(id: number | undefined): id is number {
  return id !== undefined;
}
