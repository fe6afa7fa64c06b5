/** Holdout traces to a proxy artefact. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { effectivePrecision } from '../engine/compiler.js';
import type { Precision } from '../engine/onnx/emitter.js';
import { createProxy } from '../methods/antidistillation/create-proxy.js';
import { readProxyRecord, writeProxy } from '../methods/antidistillation/proxy.js';
import { ConfigError } from '../support/errors.js';
import { fileError } from '../support/files.js';
import { sha256 } from '../support/hash.js';
import { packageVersion } from '../support/package-version.js';
import { identifyParameters } from '../training/run-setup.js';
import type { OpenedModel } from './open-model.js';
import { readRows } from './read-rows.js';

export interface MakeProxyOptions {
  /** Traces of the teacher that no student sees (.jsonl). */
  readonly holdout: string;
  /** Folder for `gradient.safetensors` and `proxy.json`. */
  readonly output: string;
  /** Most tokens (padding included) computed at once. */
  readonly microBatchTokens: number;
  /** Of the gradient; default: float32. */
  readonly precision?: Precision | undefined;
  readonly chat?: 'auto' | 'never';
  /** See `readRows`. */
  readonly chatDate?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Response tokens of the holdout done. */
  readonly onProgress?: (doneTokens: number, totalTokens: number) => void;
  readonly log?: (message: string) => void;
}

export interface MakeProxyResult {
  readonly output: string;
  readonly lossNats: number;
  readonly responseTokens: number;
  readonly precision: Precision;
  readonly gradientNorm: number;
  readonly epsilon: number;
  /** Error of the central difference at ε, relative to the exact derivative. */
  readonly epsilonError: number;
}

/**
 * Makes a proxy of a model: ∇ of its loss on the holdout's response tokens. A folder that holds the proxy of the same weights and
 * rows is left as it is. Errors: DataError for wrong rows, an empty holdout, a gradient that is zero or not finite; ConfigError
 * where the folder holds another proxy.
 */
export async function makeProxy(opened: OpenedModel, options: MakeProxyOptions): Promise<MakeProxyResult> {
  const { model, tokenizer, checkpoint } = opened;
  const { holdout, output, chat = 'auto', precision = 'float32', log } = options;
  const bytes = await readFile(holdout).catch((error: unknown) => {
    throw fileError(error, 'read', holdout);
  });
  const rows = await readRows(holdout, {
    ...options,
    tokenizer,
    vocabSize: model.config.vocabSize,
    repeatedIds: 'allow',
  });
  const holdoutHash = sha256(bytes);
  if (existsSync(join(output, 'proxy.json'))) {
    const { provenance, epsilonStudy, ...record } = readProxyRecord(output);
    const isSamePrecision = record.precision === effectivePrecision(model.compiler.runtime, precision);
    const isSameHoldout = provenance.holdout.sha256 === holdoutHash && provenance.holdout.chat === chat;
    if (isSameHoldout && isSamePrecision && provenance.modelHash === identifyParameters(model)) {
      log?.(`${output} holds this proxy already.`);
      return summaryOf(output, { ...record, epsilonStudy });
    }
    throw new ConfigError(
      `${output}: this folder holds a proxy of other weights, another holdout or another precision. Name another output.`,
    );
  }
  const examples = rows.map(({ id, tokens, responseStart }) => ({ id: String(id), tokens, responseStart }));
  const proxy = await createProxy(model, examples, {
    microBatchTokens: options.microBatchTokens,
    precision,
    provenance: {
      model: checkpoint.location,
      revision: checkpoint.revision ?? null,
      holdout: { file: holdout, sha256: holdoutHash, numRows: rows.length, chat },
      tokenizerFingerprint: tokenizer?.fingerprint ?? null,
      packageVersion: packageVersion(),
    },
    signal: options.signal,
    onProgress: options.onProgress,
    log,
  });
  await writeProxy(output, model.config, proxy);
  return summaryOf(output, proxy);
}

function summaryOf(
  output: string,
  proxy: Pick<MakeProxyResult, 'lossNats' | 'responseTokens' | 'precision' | 'gradientNorm' | 'epsilon'> & {
    readonly epsilonStudy: readonly { readonly epsilon: number; readonly error: number }[];
  },
): MakeProxyResult {
  const { lossNats, responseTokens, precision, gradientNorm, epsilon, epsilonStudy } = proxy;
  const epsilonError = epsilonStudy.find((tried) => tried.epsilon === epsilon)?.error ?? Number.NaN;
  return { output, lossNats, responseTokens, precision, gradientNorm, epsilon, epsilonError };
}
