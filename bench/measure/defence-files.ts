/** A teacher, a proxy and its gradient as files, to be opened as a user's are. */
import { join } from 'node:path';
import { proxyConfigHash, writeProxy } from '../../src/methods/antidistillation/proxy.js';
import type { LanguageModel } from '../../src/model/language-model.js';
import { identifyParameters } from '../../src/training/run-setup.js';
import { saveTrainedModel } from '../../src/training/save.js';
import { randomModel, withCompiler } from './session.js';
import { memoryShapes } from './shapes.js';

export function measure({ folder }: { folder: string }): Promise<object> {
  return withCompiler(1, async (compiler) => {
    const [teacher, proxy] = [memoryShapes.teacher, memoryShapes.proxy].map((config) => randomModel(compiler, config));
    await saveTrainedModel(join(folder, 'teacher'), teacher, { overwrite: true });
    await saveTrainedModel(join(folder, 'proxy-model'), proxy, { overwrite: true });
    await writeProxy(join(folder, 'proxy'), proxy.config, artefactOf(proxy, join(folder, 'proxy-model')));
    return { folder };
  });
}

/** A gradient of small numbers: what it holds changes no memory. */
function artefactOf(model: LanguageModel, location: string) {
  const gradient = new Map(
    [...model.parameters].map(([name, { data }]) => [name, data.map((_, at) => Math.sin(at) * 1e-3)]),
  );
  return {
    gradient,
    gradientNorm: 1,
    epsilon: 1e-3,
    epsilonStudy: [],
    lossNats: 1,
    responseTokens: 1,
    precision: 'float32' as const,
    tokenizerFingerprint: null,
    calibration: null,
    provenance: {
      model: location,
      revision: null,
      configHash: proxyConfigHash(model.config),
      modelHash: identifyParameters(model),
      holdout: { file: '', sha256: '', numRows: 0, chat: 'auto' as const },
      tokenizerFingerprint: null,
      packageVersion: '',
    },
  };
}
