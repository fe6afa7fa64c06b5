/** Training: parts to build a run from, and one run made of them. */
export { LORA_MODULES, type LoraConfig } from '../model/lora.js';
export {
  batchesPerEpoch,
  type DataPosition,
  epochBatches,
  fillMicroBatch,
  type MicroBatch,
  numResponseTokens,
  type PreparedExamples,
  planMicroBatches,
  prepareExamples,
  type TrainingExample,
  timeBucket,
} from './batches.js';
export type { StepInput } from './bound-batches.js';
export {
  findCheckpoint,
  loadCheckpoint,
  type RunIdentity,
  type StoredCheckpoint,
  type TrainingState,
  writeTrainingCheckpoint,
} from './checkpoint.js';
export { loraSchema, type TrainingConfig, trainingSchema } from './config.js';
export { type LossGradient, type LossGradientOptions, lossGradient } from './loss-gradient.js';
export {
  availableBytes,
  estimateInferenceBytes,
  estimateTrainingBytes,
  type MemoryEstimate,
} from './memory-estimate.js';
export { createOptimizer, type Optimizer } from './optimizer.js';
export { saveTrainedModel } from './save.js';
export { learningRateAt, type Schedule, type ScheduleKind } from './schedule.js';
export { createTrainingStep, type StepResult, type TrainingStep } from './step.js';
export {
  type AdamWConfig,
  buildAccumulateGraph,
  buildApplyGraph,
  buildStepGraph,
} from './step-graph.js';
export { type StepReport, type TrainingHooks, type TrainingResult, trainModel } from './train.js';
export { type TrainingGraph, trainableSpecs } from './trainable.js';
