/** How much a defence adds to the peak memory of sampling, in sizes of the proxy. */
import { join } from 'node:path';
import type { Compiler } from '../../src/engine/compiler.js';
import type { Precision } from '../../src/engine/onnx/emitter.js';
import { createGenerator } from '../../src/inference/generator.js';
import { openModel } from '../../src/jobs/open-model.js';
import { openProxy } from '../../src/jobs/open-proxy.js';
import { createDefence } from '../../src/methods/antidistillation/defence.js';
import type { EstimatorKind } from '../../src/methods/antidistillation/estimators.js';
import { countParameters } from '../../src/model/parameters.js';
import { peakRssBytes } from './peak-memory.js';
import { randomTokens, withCompiler } from './session.js';

interface MemoryOptions {
  /** What `defence-files` wrote. */
  readonly folder: string;
  readonly estimator: EstimatorKind;
  readonly precision: Precision;
  readonly batch: number;
  readonly newTokens: number;
}

const FLOAT_BYTES = 4;
const PROMPT = 16;

/** Plain sampling first, then defended sampling, in one process: the peak only grows. */
export function measure({ folder, estimator, precision, batch, newTokens }: MemoryOptions): Promise<object> {
  const work = async (compiler: Compiler): Promise<object> => {
    const teacher = await openModel(join(folder, 'teacher'), { compiler });
    const { vocabSize } = teacher.model.config;
    const requests = Array.from({ length: batch }, (_, row) => ({
      id: String(row),
      promptTokens: randomTokens(PROMPT, vocabSize, row),
      maxTokens: newTokens,
    }));
    const plain = createGenerator(teacher.model, { maxBatch: batch });
    await plain.generate(requests);
    plain.dispose();
    const plainPeakBytes = peakRssBytes();
    const proxy = await openProxy(join(folder, 'proxy'), teacher);
    const defence = createDefence(proxy.model, proxy.proxy, { estimator, ...proxy.forDefence });
    const generator = createGenerator(teacher.model, {
      maxBatch: batch,
      processors: [defence.tilt(1e-3)],
      companions: defence.companions,
    });
    await generator.generate(requests);
    const proxyBytes = FLOAT_BYTES * countParameters(proxy.model.config);
    const addedProxies = (peakRssBytes() - plainPeakBytes) / proxyBytes;
    generator.dispose();
    defence.dispose();
    proxy.dispose();
    teacher.dispose();
    return { estimator, batch, newTokens, proxyBytes, plainPeakBytes, addedProxies };
  };
  return withCompiler(1, work, precision);
}
