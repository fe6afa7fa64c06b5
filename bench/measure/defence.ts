/** What antidistillation sampling costs: plain, central and exact sampling of the same prompts, in turns. */
import type { Compiler } from '../../src/engine/compiler.js';
import type { Precision } from '../../src/engine/onnx/emitter.js';
import { createGenerator, type Generator } from '../../src/inference/generator.js';
import { createDefence } from '../../src/methods/antidistillation/defence.js';
import type { EstimatorKind } from '../../src/methods/antidistillation/estimators.js';
import type { ProxyArtefact } from '../../src/methods/antidistillation/proxy.js';
import type { LanguageModel } from '../../src/model/language-model.js';
import { median } from '../../src/support/statistics.js';
import { randomModel, randomTokens, withCompiler } from './session.js';
import { type DefencePair, defencePairs, flopPerToken } from './shapes.js';

interface DefenceOptions {
  readonly pair: DefencePair;
  readonly threads: number;
  readonly batch: number;
  readonly prompt: number;
  readonly newTokens: number;
  readonly seconds: number;
  readonly precision: Precision;
}

const ESTIMATORS: readonly EstimatorKind[] = ['central', 'jvp'];

export function measure(options: DefenceOptions): Promise<object> {
  const work = async (compiler: Compiler): Promise<object> => {
    const { batch, prompt, newTokens, pair } = options;
    const teacher = randomModel(compiler, defencePairs[pair].teacher);
    const proxyModel = randomModel(compiler, defencePairs[pair].proxy);
    const proxy = randomProxy(proxyModel);
    const defences = ESTIMATORS.map((estimator) => createDefence(proxyModel, proxy, { estimator }));
    const generators: readonly Generator[] = [
      createGenerator(teacher, { maxBatch: batch }),
      ...defences.map(({ tilt, companions }) =>
        createGenerator(teacher, { maxBatch: batch, processors: [tilt(1e-3)], companions }),
      ),
    ];
    const run = async (generator: Generator): Promise<number> => {
      const requests = Array.from({ length: batch }, (_, row) => ({
        id: String(row),
        promptTokens: randomTokens(prompt, teacher.config.vocabSize, `${row}`),
        maxTokens: newTokens,
      }));
      const { decodeMs } = await generator.generate(requests);
      return decodeMs;
    };
    for (const generator of generators) await run(generator); // compiles
    const rounds: number[][] = [];
    const begin = performance.now();
    while (rounds.length < 3 || performance.now() - begin < options.seconds * 1000) {
      const times: number[] = [];
      for (const generator of generators) times.push(await run(generator));
      rounds.push(times);
    }
    for (const generator of generators) generator.dispose();
    for (const defence of defences) defence.dispose();
    const relative = (index: number) => median(rounds.map((times) => times[index] / times[0]));
    const context = prompt + newTokens / 2;
    return {
      ...options,
      proxyShareOfCompute: flopPerToken(proxyModel.config, context) / flopPerToken(teacher.config, context),
      plainTokensPerSecond: (batch * newTokens * 1000) / median(rounds.map(([plain]) => plain)),
      centralTokensPerSecond: (batch * newTokens * 1000) / median(rounds.map(([, central]) => central)),
      centralRelative: relative(1),
      jvpRelative: relative(2),
      numRounds: rounds.length,
    };
  };
  return withCompiler(options.threads, work, options.precision);
}

/** A gradient of random signs: what it holds changes no cost. */
function randomProxy({ parameters }: LanguageModel): ProxyArtefact {
  const gradient = new Map([...parameters].map(([name, { data }]) => [name, data.map((_, at) => Math.sin(at) * 1e-3)]));
  return {
    gradient,
    gradientNorm: 1,
    epsilon: 1e-3,
    epsilonStudy: [],
    lossNats: 1,
    responseTokens: 1,
    precision: 'float32',
    tokenizerFingerprint: null,
    calibration: null,
    provenance: {
      model: 'random',
      revision: null,
      configHash: '',
      modelHash: '',
      holdout: { file: '', sha256: '', numRows: 0, chat: 'auto' },
      tokenizerFingerprint: null,
      packageVersion: '',
    },
  };
}
