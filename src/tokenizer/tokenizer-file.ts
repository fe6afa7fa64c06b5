import { Tokenizer as Engine } from '@huggingface/tokenizers';
import { DataError, ModelLoadError, messageOf } from '../support/errors.js';
import { canonicalJson } from '../support/hash.js';
import { booleanAt, type JsonObject, objectAt, refuse } from './file-checks.js';
import { normalizerRules } from './normalizer-rules.js';
import { readPostProcessor } from './post-processor.js';
import { preTokenizerRules } from './pre-tokenizer-rules.js';
import { decodingRules } from './token-bytes.js';
import type { TokenTable } from './token-table.js';
import { idLimit, readAddedTokens, readMerges, readVocabulary, type Vocabulary } from './vocabulary.js';

/**
 * Reads the content of a tokenizer.json: vocabulary, settings and a function from text to ids that gives the ids of the
 * Rust library `tokenizers`. Settings that shape ids but cannot be reproduced exactly are refused with a ModelLoadError, as
 * are broken files. `truncation`, `padding` and `dropout` in the file are training settings and are ignored.
 */
export function readTokenizerFile(content: unknown): TokenTable {
  const file = objectAt(content, 'tokenizer.json');
  const model = objectAt(file.model, 'model');
  const addedTokens = readAddedTokens(file.added_tokens);
  const vocabulary = readVocabulary(objectAt(model.vocab, 'model.vocab'), addedTokens);
  const settings = {
    version: '1.0',
    added_tokens: addedTokens,
    normalizer: normalizerRules(file.normalizer),
    pre_tokenizer: preTokenizerRules(file.pre_tokenizer),
    post_processor: null,
    decoder: null,
    model: modelRules(model, vocabulary),
  };
  const surround = readPostProcessor(file.post_processor, idLimit(vocabulary.tokenById.size));
  for (const id of [...surround.before, ...surround.after]) {
    if (!vocabulary.tokenById.has(id)) throw new ModelLoadError(`post_processor: id ${id} names no token.`);
  }
  const { assembly, bytesOfToken } = decodingRules(file.decoder);
  const { vocab: _, ...modelSettings } = settings.model;
  const { normalizer, pre_tokenizer } = settings;
  return {
    ...vocabulary,
    addedIds: new Set(addedTokens.map(({ id }) => id)),
    specialIds: new Set(addedTokens.filter((token) => token.special).map((token) => token.id)),
    assembly,
    bytesOfToken,
    surround,
    settings: () => canonicalJson({ ...settings, model: modelSettings, surround, decoder: file.decoder ?? null }),
    cuttingSettings: () => canonicalJson({ normalizer, pre_tokenizer, model: modelSettings }),
    idsOf: encoderOf(settings, unknownTokenOf(model, vocabulary)),
  };
}

/** What the engine needs of `model`. Kinds: BPE and WordLevel; files of before 2020 leave the type out. */
function modelRules(model: JsonObject, vocabulary: Vocabulary): Record<string, unknown> & { vocab: JsonObject } {
  const type = model.type ?? (model.merges === undefined ? 'WordLevel' : 'BPE');
  const vocab = objectAt(model.vocab, 'model.vocab');
  const unknown = unknownTokenOf(model, vocabulary);
  if (type === 'WordLevel') return { type, vocab, unk_token: unknown };
  if (type !== 'BPE') return refuse('model.type', 'BPE or WordLevel', type);
  for (const key of ['continuing_subword_prefix', 'end_of_word_suffix'] as const) {
    if ((model[key] ?? '') !== '') refuse(`model.${key}`, 'none', model[key]);
  }
  return {
    type,
    vocab,
    merges: readMerges(model.merges, vocabulary.idByToken),
    unk_token: unknown ?? null,
    fuse_unk: booleanAt(model.fuse_unk, 'model.fuse_unk', false),
    byte_fallback: booleanAt(model.byte_fallback, 'model.byte_fallback', false),
    ignore_merges: booleanAt(model.ignore_merges, 'model.ignore_merges', false),
  };
}

function unknownTokenOf(model: JsonObject, vocabulary: Vocabulary): string | undefined {
  const token = model.unk_token ?? undefined;
  if (token === undefined) return undefined;
  // A WordLevel model names "<unk>" by default, whether or not the vocabulary has it.
  if (typeof token !== 'string') return refuse('model.unk_token', 'a token', token);
  if (!vocabulary.idByToken.has(token) && model.type !== 'WordLevel') {
    return refuse('model.unk_token', 'a token of the vocabulary', token);
  }
  return vocabulary.idByToken.has(token) ? token : undefined;
}

function encoderOf(settings: object, unknown: string | undefined) {
  let engine: Engine;
  try {
    engine = new Engine(settings, unknown === undefined ? {} : { unk_token: unknown });
  } catch (error) {
    throw new ModelLoadError(`tokenizer.json: ${messageOf(error)}`);
  }
  return (text: string): number[] => {
    if (text === '') return [];
    const { ids, tokens } = engine.encode(text, { add_special_tokens: false });
    return ids.map((id: number | undefined, index: number) => {
      if (id !== undefined) return id;
      throw new DataError(
        `${JSON.stringify(tokens[index])} is not in the tokenizer's vocabulary, and it names no token for unknown words.`,
      );
    });
  };
}
