/** What a local teacher says at each response token of given rows. */
import {
  exponential,
  fill,
  linear,
  logSoftmax,
  multiply,
  reduceSum,
  scalar,
  scatterElements,
  subtract,
  topK,
} from '../../engine/graph/ops.js';
import type { LanguageModel } from '../../model/language-model.js';
import { fillTokens, numResponseTokens, planMicroBatches, type TrainingExample } from '../../training/batches.js';
import { createForwardPass } from '../../training/forward-pass.js';
import { languageModelObjective, type TokenLoss } from '../../training/objective.js';
import type { Cells } from './cells.js';

export interface TeacherPass {
  /** Cells of each row's response tokens. Errors: none of its own; rows must fit the model. */
  cellsOf(examples: readonly TrainingExample[]): Promise<Cells[]>;
  dispose(): void;
}

/** Prepares forward passes of the teacher at a temperature; `topK` at most its vocabulary. */
export function createTeacherPass(
  teacher: LanguageModel,
  options: { topK: number; temperature: number; microBatchTokens: number },
): TeacherPass {
  const { topK: k, microBatchTokens } = options;
  const pass = createForwardPass<{ tokens: BigInt64Array }>(
    languageModelObjective(teacher, cellOutputs(options), { checkpointing: false }),
  );
  return {
    async cellsOf(examples) {
      const cells: Cells[] = [];
      const rows = examples.map((_, row) => row);
      for (const part of planMicroBatches(examples, rows, microBatchTokens)) {
        await pass.run({
          batch: part.batch,
          time: part.time,
          fill: (arrays) => fillTokens(examples, part, arrays.tokens),
          read(outputs) {
            const { ids, logprobs, tails } = outputs as {
              ids: BigInt64Array;
              logprobs: Float32Array;
              tails: Float32Array;
            };
            part.rows.forEach((row, at) => {
              const count = numResponseTokens(examples[row]);
              const from = at * part.time + examples[row].tokens.length - 1 - count;
              cells[row] = {
                ids: Int32Array.from(ids.subarray(from * k, (from + count) * k), Number),
                logprobs: logprobs.slice(from * k, (from + count) * k),
                tails: tails.slice(from, from + count),
              };
            });
          },
        });
      }
      return cells;
    },
    dispose: () => pass.dispose(),
  };
}

/** Outputs ids [N, k] int64, logprobs [N, k] and tails [N] of softmax(logits/T). */
function cellOutputs({ topK: k, temperature }: { topK: number; temperature: number }): TokenLoss {
  return {
    key: `cells/${k}/${temperature}`,
    inputs: () => ({}),
    outputs: ({ batch, time }) => ({
      ids: { dtype: 'int64', shape: [batch * time, k] },
      logprobs: { dtype: 'float32', shape: [batch * time, k] },
      tails: { dtype: 'float32', shape: [batch * time] },
    }),
    build(g, { hidden, head }) {
      const logprobs = logSoftmax(g, multiply(g, linear(g, hidden, head), scalar(g, 1 / temperature)));
      const top = topK(g, logprobs, k);
      const kept = scatterElements(g, fill(g, logprobs.shape, 0), top.ids, fill(g, top.ids.shape, 1));
      // The others added up, not 1 − the kept: a small tail would be rounding.
      const others = multiply(g, subtract(g, scalar(g, 1), kept), exponential(g, logprobs));
      const outputs = { ids: top.ids, logprobs: top.values, tails: reduceSum(g, others, [1]) };
      return { loss: scalar(g, 0), outputs };
    },
  };
}
