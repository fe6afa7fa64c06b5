/** Sampling and scoring with a language model. */
export {
  createGenerator,
  type GenerateOptions,
  type GenerationStats,
  type Generator,
  type GeneratorOptions,
  type TokenEvent,
} from './generator.js';
export type { GenerationRequest } from './request.js';
export type { LogitsProcessor, SamplingStep, StepShape } from './samplers/processor.js';
export { type SamplerSettings, samplerSchema } from './samplers/settings.js';
export {
  createScorer,
  type ScoredRow,
  type ScoreOptions,
  type ScoreRow,
  type Scorer,
  type ScorerOptions,
} from './score.js';
export type { FinishReason, Sequence } from './sequence.js';
export type { Trace } from './trace.js';
