/** From a small model and holdout traces of the teacher to a proxy. */
import { effectivePrecision } from '../../engine/compiler.js';
import type { Precision } from '../../engine/onnx/emitter.js';
import type { LanguageModel } from '../../model/language-model.js';
import { DataError } from '../../support/errors.js';
import type { TrainingExample } from '../../training/batches.js';
import { lossGradient } from '../../training/loss-gradient.js';
import { identifyParameters } from '../../training/run-setup.js';
import { studyEpsilon } from './epsilon.js';
import { type ProxyArtefact, proxyConfigHash } from './proxy.js';

export interface CreateProxyOptions {
  /** Where the model and the holdout come from, as far as the model itself does not tell. */
  readonly provenance: Omit<ProxyArtefact['provenance'], 'configHash' | 'modelHash'>;
  /** Most tokens (padding included) computed at once. */
  readonly microBatchTokens: number;
  /** Of the gradient; default: float32. */
  readonly precision?: Precision | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Response tokens of the holdout done. */
  readonly onProgress?: ((doneTokens: number, totalTokens: number) => void) | undefined;
  readonly log?: ((message: string) => void) | undefined;
}

/**
 * ℓ(θ) = mean of −ln p over all response tokens of the holdout, g = ∇ℓ(θ) in float32, and the step ε of difference estimators.
 * Errors: DataError for an empty holdout, rows that do not fit the model, and a loss or gradient that is zero or not finite.
 * @see arXiv 2504.13146, section 3
 */
export async function createProxy(
  model: LanguageModel,
  holdout: readonly TrainingExample[],
  options: CreateProxyOptions,
): Promise<ProxyArtefact> {
  const { provenance, signal, log } = options;
  const { file } = provenance.holdout;
  if (holdout.length === 0)
    throw new DataError(`${file}: the holdout is empty. Name a file with traces of the teacher.`);
  const { lossNats, numTokens, gradient: tensors } = await lossGradient(model, holdout, options);
  const gradient = new Map([...tensors].map(([name, { data }]) => [name, data.slice()]));
  for (const tensor of tensors.values()) tensor.dispose();
  const gradientNorm = normOf(gradient);
  if (!(gradientNorm > 0 && Number.isFinite(gradientNorm) && Number.isFinite(lossNats))) {
    const what = gradientNorm === 0 ? 'zero' : 'not finite';
    throw new DataError(
      `${file}: the gradient of the holdout's loss is ${what} (loss ${lossNats} nats, norm ${gradientNorm}): no direction follows from it. Check the weights of ${provenance.model} and the rows.`,
    );
  }
  log?.('Measures the error of finite differences to choose their step.');
  const study = await studyEpsilon(model, gradient, { examples: holdout, signal });
  return {
    gradient,
    gradientNorm,
    ...study,
    lossNats,
    responseTokens: numTokens,
    precision: effectivePrecision(model.compiler.runtime, options.precision ?? 'float32'),
    tokenizerFingerprint: provenance.tokenizerFingerprint,
    calibration: null,
    provenance: { ...provenance, configHash: proxyConfigHash(model.config), modelHash: identifyParameters(model) },
  };
}

function normOf(gradient: ReadonlyMap<string, Float32Array>): number {
  let square = 0;
  for (const values of gradient.values()) for (const value of values) square += value * value;
  return Math.sqrt(square);
}
