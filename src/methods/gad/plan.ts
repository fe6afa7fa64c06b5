/** Which step of a run is what. */
import { batchesPerEpoch } from '../../training/batches.js';
import type { GadConfig } from './config.js';

export interface GadPlan {
  readonly stepsPerEpoch: number;
  readonly warmupSteps: number;
  readonly totalSteps: number;
}

export interface PlannedStep {
  readonly phase: 'warmup' | 'adversarial';
  readonly epoch: number;
  readonly batchIndex: number;
  readonly updatesStudent: boolean;
  readonly updatesDiscriminator: boolean;
}

/** Without either part the warm-up has no steps. */
export function planGad(config: GadConfig, numPrompts: number): GadPlan {
  const stepsPerEpoch = batchesPerEpoch(numPrompts, config.batchPrompts);
  const { warmup, epochs, maxSteps = Number.POSITIVE_INFINITY } = config;
  const hasWarmup = warmup.generator || warmup.discriminator;
  const warmupSteps = hasWarmup ? Math.ceil(warmup.epochs * stepsPerEpoch) : 0;
  return {
    stepsPerEpoch,
    warmupSteps,
    totalSteps: Math.min(maxSteps, warmupSteps + Math.ceil(epochs * stepsPerEpoch)),
  };
}

/** Step 1 … totalSteps. Epochs are counted through both phases. */
export function planStep(config: GadConfig, plan: GadPlan, step: number): PlannedStep {
  const { warmup, discriminator } = config;
  const place = { epoch: Math.floor((step - 1) / plan.stepsPerEpoch), batchIndex: (step - 1) % plan.stepsPerEpoch };
  if (step > plan.warmupSteps) {
    return { phase: 'adversarial', ...place, updatesStudent: true, updatesDiscriminator: !discriminator.isFrozen };
  }
  // Without a discriminator to train first, the student need not wait.
  const isAlone = warmup.discriminator && step <= warmup.discriminatorOnlySteps;
  return {
    phase: 'warmup',
    ...place,
    updatesStudent: warmup.generator && !isAlone,
    updatesDiscriminator: warmup.discriminator,
  };
}
