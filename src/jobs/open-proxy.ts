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
import { describeFirstDifference } from '../tokenizer/fingerprint.js';
import { identifyParameters } from '../training/run-setup.js';
import { type OpenedModel, type OpenModelOptions, openModel } from './open-model.js';

export interface OpenProxyOptions extends Omit<OpenModelOptions, 'compiler' | 'adapter'> {
  /** The proxy's checkpoint; default: the one that `proxy.json` names. */
  readonly proxyModel?: string | undefined;
}

export interface OpenedProxy {
  readonly proxy: ProxyArtefact;
  /** The teacher's own where both are the same checkpoint; it computes with the teacher's compiler. */
  readonly model: LanguageModel;
  /** For `createDefence`: the gradient from its file, and whether the model is the proxy's alone. */
  readonly forDefence: { readonly readGradient: GradientReader; readonly isOwn: boolean };
  dispose(): void;
}

/**
 * Opens the proxy in a folder (what `azeotrope proxy` writes) to be used with a teacher. Errors: DataError where the artefact is
 * damaged or of another model; ConfigError where teacher and proxy do not share a vocabulary, naming the first difference (the
 * number of padding rows may differ); ModelLoadError.
 */
export async function openProxy(
  folder: string,
  teacher: OpenedModel,
  options: OpenProxyOptions = {},
): Promise<OpenedProxy> {
  const { proxyModel, ...rest } = options;
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
    checkVocabulary(teacher, opened, location);
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
      forDefence: { readGradient, isOwn: !isTeacher },
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

/** Errors: ConfigError where the tokens of a teacher and a proxy (of this name) are not the same. */
export function checkVocabulary(teacher: OpenedModel, proxy: OpenedModel, location: string): void {
  const name = teacher.checkpoint.location;
  if (teacher.tokenizer !== undefined && proxy.tokenizer !== undefined) {
    const difference = describeFirstDifference(teacher.tokenizer, proxy.tokenizer, [name, location]);
    if (difference === undefined) return;
    throw new ConfigError(
      `The teacher and the proxy must have the same tokenizer: ${difference}. Choose a proxy of the teacher's family.`,
    );
  }
  const [rows, proxyRows] = [teacher.model.config.vocabSize, proxy.model.config.vocabSize];
  if (rows === proxyRows) return;
  throw new ConfigError(
    `${name} has ${rows} rows in its embedding and ${location} ${proxyRows}; without tokenizer.json in both, nothing tells whether they share tokens. Add the tokenizers.`,
  );
}
