/** What a run says of the embedded task. */
import { z } from 'zod';

export const embeddedTaskSchema = z.strictObject({
  kind: z.literal('embedded'),
  models: z.string().optional().describe('folder of checkpoints; default: those shipped with the package'),
});

export type EmbeddedTaskConfig = z.output<typeof embeddedTaskSchema>;
