/** What the tests of this folder share: the golden values, and a proxy without a file. */
import type { Compiler } from '../../engine/compiler.js';
import type { LanguageModel } from '../../model/language-model.js';
import type { TrainingExample } from '../../training/batches.js';
import { loadGoldenModel, readGolden } from '../../training/training.fixture.js';
import { createProxy } from './create-proxy.js';
import type { ProxyArtefact } from './proxy.js';

interface GoldenRow {
  readonly id: string;
  readonly tokens: number[];
  readonly delta: (number | null)[];
  readonly central: (number | null)[];
  readonly forward: (number | null)[];
  readonly topAfterLast: [number, number][];
  readonly deltaAfterLast: number[];
  readonly probabilities: { temperature: number; lambda: number; values: number[] }[];
}

interface Golden {
  readonly teacher: string;
  readonly proxy: string;
  readonly holdout: TrainingExample[];
  readonly lossNats: number;
  readonly responseTokens: number;
  readonly gradientNorm: number;
  readonly epsilon: number;
  readonly gradient: { name: string; shape: number[]; norm: number; stride: number; values: number[] }[];
  readonly rows: GoldenRow[];
}

export const golden: Golden = readGolden('antidistillation.json');

export const loadGoldenProxy = (compiler: Compiler): Promise<LanguageModel> => loadGoldenModel(compiler, golden.proxy);

const provenance = {
  model: 'a model',
  revision: null,
  holdout: { file: 'holdout.jsonl', sha256: '', numRows: golden.holdout.length, chat: 'auto' as const },
  tokenizerFingerprint: null,
  packageVersion: '0.0.0',
};

/** A proxy of a model on the golden holdout. */
export const proxyOf = (
  model: LanguageModel,
  holdout: readonly TrainingExample[] = golden.holdout,
): Promise<ProxyArtefact> => createProxy(model, holdout, { provenance, microBatchTokens: 256 });
