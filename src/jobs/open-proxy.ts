/** A proxy beside its teacher: the artefact, the model it was made with, and whether they belong together. */
import { resolve } from 'node:path';
import {
  type GradientReader,
  openStoredProxy,
  type ProxyArtefact,
  readProxyRecord,
} from '../methods/antidistillation/proxy.js';
import type { LanguageModel } from '../model/language-model.js';
import { ConfigError, DataError, ModelLoadError } from '../support/errors.js';
import { compareOrdinaryTokens, describeFirstDifference, type TokenizerMatch } from '../tokenizer/fingerprint.js';
import { identifyParameters } from '../training/run-setup.js';
import { type OpenedModel, type OpenModelOptions, openModel } from './open-model.js';

export interface OpenProxyOptions extends Omit<OpenModelOptions, 'compiler' | 'adapter'> {
  /** The proxy's checkpoint; default: the one that `proxy.json` names. */
  readonly proxyModel?: string | undefined;
  /** How far its tokenizer must agree with the teacher's; default: 'equal'. */
  readonly proxyTokenizer?: TokenizerMatch | undefined;
  /** Told of special tokens that the two do not share. */
  readonly log?: ((message: string) => void) | undefined;
}

export interface OpenedProxy {
  readonly proxy: ProxyArtefact;
  /** The teacher's own where both are the same checkpoint; it computes with the teacher's compiler. */
  readonly model: LanguageModel;
  /** For `createDefence`: the gradient from its file, whether the model is the proxy's alone, and ids whose Δ is 0. */
  readonly forDefence: {
    readonly readGradient: GradientReader;
    readonly isOwn: boolean;
    readonly unsharedIds: readonly number[];
  };
  dispose(): void;
}

/**
 * Opens the proxy in a folder (what `azeotrope proxy` writes) to be used with a teacher. Errors: DataError where the artefact is
 * damaged or of another model; ConfigError where teacher and proxy do not share a vocabulary, naming the first difference (the
 * number of padding rows may differ, and special tokens where `proxyTokenizer` says so); ModelLoadError.
 */
export async function openProxy(
  folder: string,
  teacher: OpenedModel,
  options: OpenProxyOptions = {},
): Promise<OpenedProxy> {
  const { proxyModel, proxyTokenizer, log, ...rest } = options;
  const location = proxyModel ?? readProxyRecord(folder).provenance.model;
  const isTeacher = teacher.model.lora === undefined && isSameCheckpoint(location, teacher);
  const opened = isTeacher
    ? { ...teacher, dispose: () => {} }
    : await openModel(location, { ...rest, compiler: teacher.model.compiler }).catch((error: unknown) => {
        if (proxyModel !== undefined || !(error instanceof ModelLoadError)) throw error;
        throw new ModelLoadError(
          `${error.message} ${folder} was made with it; name its place (proxyModel) if it has moved.`,
        );
      });
  let closeFile = () => {};
  try {
    const unsharedIds = checkVocabulary(teacher, opened, { location, proxyTokenizer });
    if (unsharedIds.length > 0) log?.(describeUnshared(unsharedIds));
    const { proxy, readGradient, dispose } = openStoredProxy(folder, opened.model.config);
    closeFile = dispose;
    if (proxy.provenance.modelHash !== identifyParameters(opened.model)) {
      throw new DataError(
        `${folder}: this proxy was made with other weights than those of ${location}. Name the model it was made with (${proxy.provenance.model}), or make a proxy of this one.`,
      );
    }
    return {
      proxy,
      model: opened.model,
      forDefence: { readGradient, isOwn: !isTeacher, unsharedIds },
      dispose() {
        dispose();
        opened.dispose();
      },
    };
  } catch (error) {
    closeFile();
    opened.dispose();
    throw error;
  }
}

function isSameCheckpoint(location: string, { checkpoint }: OpenedModel): boolean {
  return location === checkpoint.location || resolve(location) === checkpoint.path;
}

/**
 * Ids that name different special tokens in a teacher and a proxy, where 'except-special' accepts them; else none. Errors: ConfigError
 * where other tokens are not the same, or any with 'equal', and where the proxy cannot read one of the teacher's.
 */
export function checkVocabulary(
  teacher: OpenedModel,
  proxy: OpenedModel,
  options: { readonly location?: string; readonly proxyTokenizer?: TokenizerMatch | undefined } = {},
): readonly number[] {
  const { location = proxy.checkpoint.location, proxyTokenizer = 'equal' } = options;
  const name = teacher.checkpoint.location;
  if (teacher.tokenizer !== undefined && proxy.tokenizer !== undefined) {
    const names = [name, location] as const;
    const difference = describeFirstDifference(teacher.tokenizer, proxy.tokenizer, names);
    if (difference === undefined) return [];
    const ordinary = compareOrdinaryTokens(teacher.tokenizer, proxy.tokenizer, names);
    if ('difference' in ordinary) {
      throw otherTokenizer(proxyTokenizer === 'equal' ? difference : ordinary.difference);
    }
    if (proxyTokenizer === 'except-special') {
      // The proxy reads whatever the teacher draws.
      const { vocabSize } = proxy.model.config;
      const unread = ordinary.unsharedIds.find((id) => id >= vocabSize && teacher.tokenizer?.tokenOf(id) !== undefined);
      if (unread === undefined) return ordinary.unsharedIds;
      throw otherTokenizer(
        `id ${unread} is ${JSON.stringify(teacher.tokenizer.tokenOf(unread))} in ${name}, but the embedding of ${location} has ${vocabSize} rows`,
      );
    }
    throw otherTokenizer(
      difference,
      ", or accept this one: they differ in special tokens alone, whose Δ is then 0 (--proxy-tokenizer except-special; in a run's configuration task.models.proxyTokenizer)",
    );
  }
  const [rows, proxyRows] = [teacher.model.config.vocabSize, proxy.model.config.vocabSize];
  if (rows === proxyRows) return [];
  throw new ConfigError(
    `${name} has ${rows} rows in its embedding and ${location} ${proxyRows}; without tokenizer.json in both, nothing tells whether they share tokens. Add the tokenizers.`,
  );
}

const otherTokenizer = (difference: string, otherwise = ''): ConfigError =>
  new ConfigError(
    `The teacher and the proxy must have the same tokenizer: ${difference}. Choose a proxy of the teacher's family${otherwise}.`,
  );

const SHOWN_IDS = 10;

/** For people: how many ids have no Δ, and which. */
export function describeUnshared(ids: readonly number[]): string {
  const shown = `${ids.slice(0, SHOWN_IDS).join(', ')}${ids.length > SHOWN_IDS ? ', …' : ''}`;
  return `The special tokens of teacher and proxy differ at ${ids.length} ${ids.length === 1 ? 'id' : 'ids'} (${shown}): Δ is 0 there.`;
}
