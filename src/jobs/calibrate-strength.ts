/** λ from a budget: how far, in nats a token, sampling may move from the teacher. */
import type { Precision } from '../engine/onnx/emitter.js';
import { createGenerator } from '../inference/generator.js';
import { type SamplerSettings, samplerSchema } from '../inference/samplers/settings.js';
import type { Trace } from '../inference/trace.js';
import { createDefence, type DefenceOptions } from '../methods/antidistillation/defence.js';
import { addCalibration } from '../methods/antidistillation/proxy.js';
import { solveStrength } from '../methods/antidistillation/strength.js';
import { DataError } from '../support/errors.js';
import type { OpenedModel } from './open-model.js';
import type { OpenedProxy } from './open-proxy.js';
import { readRows } from './read-rows.js';
import { promptOf } from './sample-rows.js';

export interface CalibrateOptions extends DefenceOptions {
  /** Prompts (.jsonl). Every second one is kept back to check what the others gave. */
  readonly input: string;
  /** Folder of the proxy, where the result is noted too. */
  readonly folder: string;
  /** Mean KL(tilted ‖ untilted) a token. */
  readonly budgetNats: number;
  readonly sampler?: Partial<SamplerSettings>;
  /** Most tokens of a response. */
  readonly maxTokens: number;
  readonly seed: number;
  readonly chat?: 'auto' | 'never';
  readonly chatDate?: string | undefined;
  readonly maxBatch?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onMeasurement?: (measurement: { lambda: number; nats: number }) => void;
  readonly log?: (message: string) => void;
}

export interface Calibration {
  readonly lambda: number;
  readonly budgetNats: number;
  /** False where the support allows less than the budget at any strength: λ is then at that bound. */
  readonly isReached: boolean;
  /** On the prompts the search used. */
  readonly measuredNats: number;
  /** On the prompts kept back. */
  readonly heldOutNats: number;
  /** Tokens drawn in the last measurement and in the check. */
  readonly numTokens: number;
  readonly estimator: string;
  readonly order: string;
  /** That the model computed in. */
  readonly precision: Precision;
  readonly sampler: SamplerSettings;
  readonly maxTokens: number;
  readonly seed: number;
  readonly input: string;
}

const LEAST_PROMPTS = 4;

/**
 * Solves for the λ whose traces lie `budgetNats` a token from the teacher's distribution, on half of the prompts, measures it on the
 * other half and notes it in `proxy.json`. Where the support does not allow the budget
 * the result is the bound (`isReached`). Errors: DataError for too few prompts.
 */
export async function calibrateStrength(
  opened: OpenedModel,
  { proxy, model: proxyModel, forDefence: { readGradient, unsharedIds } }: OpenedProxy,
  options: CalibrateOptions,
): Promise<Calibration> {
  const { model, tokenizer } = opened;
  const { input, folder, budgetNats, maxTokens, seed, signal, estimator = 'jvp', order = 'paper' } = options;
  const sampler = samplerSchema.parse(options.sampler ?? {});
  const rows = await readRows(input, { ...options, tokenizer, vocabSize: model.config.vocabSize });
  if (rows.length < LEAST_PROMPTS) {
    throw new DataError(
      `${input}: ${rows.length} prompts are too few to calibrate on; give at least ${LEAST_PROMPTS}.`,
    );
  }
  const requests = rows.map((row) => {
    const promptTokens = promptOf(row);
    const limit = Math.min(maxTokens, model.config.maxPositions - promptTokens.length);
    return { id: String(row.id), promptTokens, maxTokens: limit, sampler, seed };
  });
  const [searched, keptBack] = [0, 1].map((parity) => requests.filter((_, index) => index % 2 === parity));
  const defence = createDefence(proxyModel, proxy, { ...options, readGradient, unsharedIds });
  try {
    const measure = async (lambda: number, prompts: typeof requests): Promise<Divergence> => {
      const generator = createGenerator(model, {
        tokenizer,
        maxBatch: options.maxBatch,
        processors: [defence.tilt(lambda)],
        companions: defence.companions,
      });
      const traces: Trace[] = [];
      try {
        await generator.generate(prompts, { signal, onTrace: (trace) => void traces.push(trace) });
      } finally {
        generator.dispose();
      }
      signal?.throwIfAborted();
      return divergenceOf(traces);
    };
    const search = async (lambda: number): Promise<number> => {
      const { meanNats } = await measure(lambda, searched);
      options.onMeasurement?.({ lambda, nats: meanNats });
      return meanNats;
    };
    const { lambda, value, isReached } = await solveStrength(search, {
      target: budgetNats,
      initial: 1 / proxy.gradientNorm,
      outOfReach: 'bound',
    });
    const check = await measure(lambda, keptBack);
    const calibration: Calibration = {
      lambda,
      budgetNats,
      isReached,
      measuredNats: value,
      heldOutNats: check.meanNats,
      numTokens: check.numTokens,
      estimator,
      order,
      precision: model.compiler.precision,
      sampler,
      maxTokens,
      seed,
      input,
    };
    await addCalibration(folder, { ...calibration });
    return calibration;
  } finally {
    defence.dispose();
  }
}

interface Divergence {
  readonly meanNats: number;
  readonly numTokens: number;
}

function divergenceOf(traces: readonly Trace[]): Divergence {
  const values = traces.flatMap(({ statistics }) => statistics?.klNats ?? []);
  const sum = values.reduce((total, value) => total + value, 0);
  return { meanNats: values.length === 0 ? 0 : sum / values.length, numTokens: values.length };
}
