/** The outputs of an objective without its gradient: scores, log-probabilities. */
import type { BatchArrays } from './batches.js';
import { createBoundBatches, type StepInput } from './bound-batches.js';
import type { Objective } from './objective.js';

export interface ForwardPass<Arrays = BatchArrays> {
  /** Writes the rows, runs, and lets the input read the outputs. */
  run(input: StepInput<Arrays>): Promise<void>;
  dispose(): void;
}

/** Prepares forward passes with the objective's parameters as they stand at each run. */
export function createForwardPass<Arrays = BatchArrays>(objective: Objective): ForwardPass<Arrays> {
  const batches = createBoundBatches<Arrays>(objective);
  return {
    async run(input) {
      await batches.run(
        { key: `forward/${objective.key}`, state: {}, build: (g, shape) => void objective.build(g, shape) },
        input,
      );
    },
    dispose: () => batches.dispose(),
  };
}
