/** How the next token is chosen. */
import { z } from 'zod';

/** Settings of one sequence, with their defaults: plain sampling from the model's distribution. Unknown keys are refused. */
export const samplerSchema = z.strictObject({
  temperature: z
    .number()
    .min(0)
    .max(1000)
    .default(1)
    .describe('Divides the logits before sampling; 0 takes the likeliest token'),
  topK: z.int().min(0).default(0).describe('Keep the k likeliest tokens; 0 keeps all'),
  topP: z
    .number()
    .gt(0)
    .max(1)
    .default(1)
    .describe('Keep the likeliest tokens that together reach this probability; 1 keeps all'),
  minP: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe('Keep tokens at least this fraction as probable as the likeliest; 0 keeps all'),
  repetitionPenalty: z
    .number()
    .gt(0)
    .max(1000)
    .default(1)
    .describe('Divides positive logits, and multiplies negative ones, of tokens seen in prompt or response; 1 is none'),
});

export type SamplerSettings = z.infer<typeof samplerSchema>;

export const isGreedy = (settings: SamplerSettings): boolean => settings.temperature === 0;
