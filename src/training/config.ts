/** What a training run may be told. */
import { z } from 'zod';
import { LORA_MODULES } from '../model/lora.js';

const fraction = () => z.number().min(0).max(1);

/** Adapters instead of all weights. Defaults: rank and alpha as in the LoRA paper's larger runs, every linear module (QLoRA, arXiv 2305.14314). */
export const loraSchema = z.strictObject({
  rank: z.int().min(1).default(16).describe('rank of the adapters'),
  alpha: z.number().positive().default(32).describe('the adapters are scaled by alpha / rank'),
  targetModules: z
    .array(z.enum(LORA_MODULES))
    .min(1)
    .default([...LORA_MODULES])
    .describe('linear modules that get an adapter'),
});

/**
 * Supervised training on response tokens. Unknown keys are refused. Optimiser defaults: β₂ = 0.95, weight decay 0.1 and clipping
 * at 1 as in Llama 2 (arXiv 2307.09288, section 2.2); ε as in Adam.
 */
export const trainingSchema = z.strictObject({
  epochs: z.number().positive().default(1).describe('passes over the rows; a fraction ends inside one'),
  maxSteps: z.int().min(1).optional().describe('most optimiser steps, whatever epochs says'),
  batchSize: z.int().min(1).default(16).describe('rows in an optimiser step'),
  microBatchTokens: z
    .int()
    .min(16)
    .default(2048)
    .describe('most tokens (padding included) computed at once; one row may exceed it'),
  precision: z
    .enum(['auto', 'float32', 'bfloat16'])
    .default('auto')
    .describe(
      'of matrix products; auto: as everything else of the run (bfloat16 where kernels and processor have it); weights stay float32',
    ),
  learningRate: z.number().positive().default(1e-4).describe('highest learning rate'),
  schedule: z.enum(['constant', 'linear', 'cosine']).default('cosine').describe('learning rate after the warm-up'),
  warmupFraction: fraction().default(0.05).describe('share of the steps over which the learning rate rises from 0'),
  finalFraction: fraction().default(0.1).describe('share of the learning rate that is left at the last step'),
  weightDecay: z.number().min(0).default(0.1).describe('decoupled weight decay, on every trained tensor'),
  beta1: z.number().min(0).lt(1).default(0.9).describe('decay of the first moment'),
  beta2: z.number().min(0).lt(1).default(0.95).describe('decay of the second moment'),
  epsilon: z.number().positive().default(1e-8).describe('added to the root of the second moment'),
  gradientClip: z.number().positive().default(1).describe('largest global norm of the gradient'),
  maxLength: z.int().min(2).optional().describe("most tokens of a row; default: the model's context"),
  overlong: z.enum(['refuse', 'truncate']).default('refuse').describe('what to do with rows beyond maxLength'),
  activationCheckpointing: z
    .union([z.literal('auto'), z.boolean()])
    .default('auto')
    .describe('compute activations twice instead of keeping them; auto: where memory would not suffice'),
  seed: z.int().min(0).default(0).describe('decides the order of the rows and fresh adapters'),
  checkpointEverySteps: z.int().min(0).default(100).describe('steps between checkpoints; 0: only at the end'),
  keepCheckpoints: z.int().min(1).default(2).describe('checkpoints kept, the newest'),
  evaluateEverySteps: z.int().min(0).default(0).describe('steps between evaluations; 0: none'),
  lora: loraSchema.optional().describe('train adapters instead of all weights'),
});

export type TrainingConfig = z.infer<typeof trainingSchema>;
