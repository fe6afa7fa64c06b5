/** White-box distillation as a loss on rows: the teacher's distributions at their response tokens, or at those the student writes. */
import { createGenerator } from '../../inference/generator.js';
import type { LanguageModel } from '../../model/language-model.js';
import { invariant } from '../../support/errors.js';
import { deriveSeed, uniformAt } from '../../support/random.js';
import { type MicroBatch, numResponseTokens, type TrainingExample } from '../../training/batches.js';
import type { NamedArrays } from '../../training/bound-batches.js';
import type { RowLoss } from '../../training/row-loss.js';
import type { Cells } from './cells.js';
import type { WhiteBoxConfig } from './config.js';
import { divergenceLoss } from './divergence.js';

export interface WhiteBoxParts {
  readonly config: WhiteBoxConfig;
  /** Cells kept of each distribution: at most the vocabulary. */
  readonly topK: number;
  /** Names the teacher and its rows in the run's identity. */
  readonly teacher: string;
  readonly seed: number;
  /** Distributions at the response tokens of rows of the data. */
  cellsOfRows(examples: readonly TrainingExample[]): Promise<readonly Cells[]>;
  /** At those of responses that the student wrote; needed where `config.studentFraction` > 0. */
  cellsOfResponses?(examples: readonly TrainingExample[]): Promise<readonly Cells[]>;
  /** Most tokens of a response that the student writes; default: as many as the row's. */
  readonly maxTokens?: number | undefined;
}

/**
 * The loss of a run (`TrainingHooks.loss`). With a student fraction f, each step is on-policy with probability f, decided by the
 * seed: the student writes a response to each prompt at temperature 1, with the weights it has now.
 * @see GKD, arXiv 2306.13649, algorithm 1
 */
export function whiteBoxLoss(parts: WhiteBoxParts, model: LanguageModel): RowLoss {
  const { config, topK, seed, teacher } = parts;
  const decisions = deriveSeed(seed, 'on-policy');
  return {
    tokenLoss: divergenceLoss(config, topK),
    settings: { whiteBox: config, topK, teacher },
    async prepare(given, step) {
      const { cellsOfResponses } = parts;
      const isOnPolicy = uniformAt(decisions, step) < config.studentFraction;
      invariant(!isOnPolicy || cellsOfResponses !== undefined, 'a student fraction needs a teacher that answers');
      const examples = isOnPolicy ? await respond(model, given, { ...parts, step }) : given;
      const cells = await (isOnPolicy ? cellsOfResponses! : parts.cellsOfRows)(examples);
      return { examples, fill: (part, arrays) => fillCells(examples, cells, { part, arrays, topK }) };
    },
  };
}

/** The rows with responses of the student in place of their own. */
async function respond(
  model: LanguageModel,
  given: readonly TrainingExample[],
  { seed, step, maxTokens }: { seed: number; step: number; maxTokens?: number | undefined },
): Promise<TrainingExample[]> {
  const generator = createGenerator(model, { maxBatch: Math.max(1, given.length) });
  const written: TrainingExample[] = [];
  try {
    const requests = given.map((example, row) => ({
      id: `${step}/${row}`,
      promptTokens: example.tokens.slice(0, Math.max(1, example.responseStart)),
      maxTokens: maxTokens ?? numResponseTokens(example),
      sampler: { temperature: 1 },
      seed,
    }));
    await generator.generate(requests, {
      onTrace({ id, promptTokens, tokens }) {
        const row = Number(id.split('/')[1]);
        written[row] = { id: given[row].id, tokens: [...promptTokens, ...tokens], responseStart: promptTokens.length };
      },
    });
    return written;
  } finally {
    generator.dispose();
  }
}

/** Positions that predict no response token get a distribution too, which their weight of 0 hides: all mass on token 0. */
function fillCells(
  examples: readonly TrainingExample[],
  cells: readonly Cells[],
  { part, arrays, topK }: { part: MicroBatch; arrays: NamedArrays; topK: number },
): void {
  const { teacherIds, teacherLogprobs, teacherTail } = arrays as {
    teacherIds: BigInt64Array;
    teacherLogprobs: Float32Array;
    teacherTail: Float32Array;
  };
  // Ids of a position must differ, or carry equal values: all are 0 and so are their log-probabilities.
  teacherIds.fill(0n);
  teacherLogprobs.fill(0);
  teacherTail.fill(0);
  part.rows.forEach((row, at) => {
    const count = numResponseTokens(examples[row]);
    const from = at * part.time + examples[row].tokens.length - 1 - count;
    const { ids, logprobs, tails } = cells[row];
    for (let index = 0; index < count * topK; index++) teacherIds[from * topK + index] = BigInt(ids[index]);
    teacherLogprobs.set(logprobs.subarray(0, count * topK), from * topK);
    teacherTail.set(tails.subarray(0, count), from);
  });
}
