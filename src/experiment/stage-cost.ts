/** Rough times of stages, for the order of work and the time left. */
import type { AnyStage } from './stage.js';

/** Of models of a few hundred thousand weights on one thread; larger ones keep the proportions. */
const SAMPLED_TOKENS_PER_SECOND = 15_000;
const TRAINED_TOKENS_PER_SECOND = 50_000;
/** Opening files and compiling graphs. */
const LEAST_SECONDS = 0.3;

export function expectedSeconds({ work }: Pick<AnyStage, 'work'>): number {
  const sum = (tokens: AnyStage['work']['sampled']) => (tokens ?? []).reduce((total, each) => total + each.tokens, 0);
  return LEAST_SECONDS + sum(work.sampled) / SAMPLED_TOKENS_PER_SECOND + sum(work.trained) / TRAINED_TOKENS_PER_SECOND;
}
