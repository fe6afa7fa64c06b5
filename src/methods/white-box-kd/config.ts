/** What white-box distillation may be told. */
import { z } from 'zod';

export const DIVERGENCES = ['forwardKl', 'reverseKl', 'jensenShannon'] as const;
export type Divergence = (typeof DIVERGENCES)[number];

export const whiteBoxSchema = z.strictObject({
  divergence: z
    .enum(DIVERGENCES)
    .default('forwardKl')
    .describe('forwardKl: KL(teacher ‖ student), as Hinton et al.; reverseKl: KL(student ‖ teacher)'),
  /** GKD's β: near 0 the divergence behaves like the forward KL, near 1 like the reverse. */
  beta: z.number().gt(0).lt(1).default(0.5).describe("the teacher's share of the mixture of jensenShannon"),
  temperature: z.number().positive().default(1).describe('divides the logits of teacher and student in the divergence'),
  hardFraction: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe('share of −ln p(token) in the loss, at temperature 1; the divergence has the rest'),
  topK: z
    .int()
    .min(1)
    .default(64)
    .describe("tokens of the teacher's distribution that are kept one by one; the others count as one"),
  studentFraction: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe('share of the steps whose responses the student writes itself (GKD); the others take those of the rows'),
});

export type WhiteBoxConfig = z.output<typeof whiteBoxSchema>;
