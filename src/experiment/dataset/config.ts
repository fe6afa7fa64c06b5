/** What a run says of a task whose questions lie in files. */
import { z } from 'zod';

export const datasetTaskSchema = z.strictObject({
  kind: z.literal('dataset'),
});

export type DatasetTaskConfig = z.output<typeof datasetTaskSchema>;
