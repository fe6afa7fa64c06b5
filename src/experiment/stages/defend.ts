/** From the description of a sampler to what a generator samples with. */
import type { GeneratorOptions } from '../../inference/generator.js';
import type { SamplerSettings } from '../../inference/samplers/settings.js';
import type { OpenedModel } from '../../jobs/open-model.js';
import { checkVocabulary } from '../../jobs/open-proxy.js';
import { createDefence, type Defence } from '../../methods/antidistillation/defence.js';
import { type ProxyArtefact, readProxy } from '../../methods/antidistillation/proxy.js';
import { invariant } from '../../support/errors.js';
import type { ModelRef, Sampling, Tilt } from '../stage.js';
import type { StageContext } from './context.js';
import { preferWords } from './words.js';

export interface PreparedSampling extends Pick<GeneratorOptions, 'processors' | 'companions'> {
  readonly sampler: Partial<SamplerSettings>;
  dispose(): void;
}

/** What stands beside a teacher that tilts. */
export interface TiltParts {
  readonly proxy: ModelRef | undefined;
  /** The stage that made its gradient. */
  readonly gradient: string | undefined;
  /** The stage that solved for λ. */
  readonly strength: string | undefined;
}

export async function prepareSampling(
  context: StageContext,
  teacher: OpenedModel,
  { sampling, parts }: { sampling: Sampling; parts: TiltParts },
): Promise<PreparedSampling> {
  const { temperature, minP, rule, tilt } = sampling;
  const sampler = { temperature, minP };
  if (rule !== undefined) {
    return { sampler, processors: [preferWords(teacher, rule.words, rule.nats)], dispose: () => {} };
  }
  if (tilt === undefined) return { sampler, dispose: () => {} };
  const { strength } = parts;
  invariant(tilt.lambda !== null || strength !== undefined, 'a tilt without a strength');
  const lambda = tilt.lambda ?? context.resultOf<'strength'>(strength!).lambda;
  const { defence } = await prepareDefence(context, teacher, { tilt, parts });
  return {
    sampler,
    processors: [defence.tilt(lambda)],
    companions: defence.companions,
    dispose: () => defence.dispose(),
  };
}

/** Errors: ConfigError where teacher and proxy do not share their tokens, naming the first difference. */
export async function prepareDefence(
  context: StageContext,
  teacher: OpenedModel,
  { tilt, parts }: { tilt: Tilt; parts: TiltParts },
): Promise<{ defence: Defence; artefact: ProxyArtefact }> {
  const { proxy, gradient } = parts;
  invariant(proxy !== undefined && gradient !== undefined, 'a tilt without a proxy');
  const opened = await context.open(proxy);
  const unsharedIds = checkVocabulary(teacher, opened, context.task);
  const artefact = readProxy(context.folderOf(gradient), opened.model.config);
  const { estimator, order, permuted } = tilt;
  return { artefact, defence: createDefence(opened.model, artefact, { estimator, order, permuted, unsharedIds }) };
}
