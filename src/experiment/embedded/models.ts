/** The models of the embedded task: their sizes, their tokenizer, and the names of their folders. */
import type { Compiler } from '../../engine/compiler.js';
import type { TransformerConfig } from '../../model/config.js';
import { createModel, type LanguageModel } from '../../model/language-model.js';
import { createRandom, deriveSeed } from '../../support/random.js';
import { EOS_WORD, WORDS } from '../../tasks/embedded/words.js';
import { openTokenizer } from '../../tokenizer/open.js';
import type { Tokenizer } from '../../tokenizer/types.js';
import type { ModelRequest, Role } from '../task.js';

const SIZES: Readonly<
  Record<Role, Pick<TransformerConfig, 'hiddenSize' | 'numLayers' | 'numHeads' | 'intermediateSize'>>
> = {
  teacher: { hiddenSize: 96, numLayers: 4, numHeads: 6, intermediateSize: 256 },
  proxy: { hiddenSize: 72, numLayers: 3, numHeads: 4, intermediateSize: 160 },
  student: { hiddenSize: 80, numLayers: 2, numHeads: 5, intermediateSize: 224 },
};

/** A prompt and the longest trace fit. */
const CONTEXT = 64;

export const tokenizer: Tokenizer = openTokenizer({ kind: 'words', words: WORDS, eosToken: EOS_WORD });

export function configOf(role: Role): TransformerConfig {
  const size = SIZES[role];
  return {
    family: 'llama',
    vocabSize: tokenizer.vocabSize,
    ...size,
    numKvHeads: size.numHeads,
    headSize: 16,
    rmsNormEps: 1e-5,
    ropeTheta: 1000,
    ropeScaling: { kind: 'none' },
    maxPositions: CONTEXT,
    qkvBias: false,
    outputBias: false,
    mlpBias: false,
    qkNorm: false,
    tiedHead: false,
    bosTokenId: undefined,
    eosTokenIds: [tokenizer.idOf(EOS_WORD)!],
    padTokenId: undefined,
    initializerRange: 0.06,
  };
}

export const freshModel = (compiler: Compiler, role: Role, seed: number): LanguageModel =>
  createModel(compiler, configOf(role), createRandom(deriveSeed('embedded', role, seed)));

/** `teacher-1`, `proxy-equal-2`: the folder of a model among its kind. */
export const folderNameOf = ({ role, kind, seed }: Omit<ModelRequest, 'teacherSeed'>): string =>
  [role, ...(kind === 'default' ? [] : [kind]), seed].join('-');

/** The tokenizer as files of a checkpoint, so that every command can use the models. */
export function tokenizerFiles(): Record<string, string> {
  const added = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const tokenizerJson = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [{ id: tokenizer.idOf(EOS_WORD), content: EOS_WORD, ...added }],
    normalizer: null,
    pre_tokenizer: { type: 'WhitespaceSplit' },
    post_processor: null,
    decoder: null,
    model: { type: 'WordLevel', vocab: Object.fromEntries(WORDS.map((word, id) => [word, id])), unk_token: '<unk>' },
  };
  return {
    'tokenizer.json': `${JSON.stringify(tokenizerJson, null, 2)}\n`,
    'tokenizer_config.json': `${JSON.stringify({ tokenizer_class: 'PreTrainedTokenizerFast', eos_token: EOS_WORD }, null, 2)}\n`,
  };
}
