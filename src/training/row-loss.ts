/** Another loss than cross-entropy on the rows as they are. */
import type { MicroBatch, TrainingExample } from './batches.js';
import type { NamedArrays } from './bound-batches.js';
import type { TokenLoss } from './objective.js';

interface PreparedRows {
  /** What takes the place of the rows; each has a response token. */
  readonly examples: readonly TrainingExample[];
  /** Writes the inputs of the loss, by name, for a part of these rows. */
  fill?(part: MicroBatch, arrays: NamedArrays): void;
}

export interface RowLoss {
  /** Takes at least the inputs targets and weights [B·T] (`crossEntropy`). */
  readonly tokenLoss: TokenLoss;
  /** Settings that decide the result, by key: a part of the run's identity. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** The rows of an optimiser step when their turn comes; a function of rows, step and the model as it stands, so that a run can be resumed. */
  prepare(examples: readonly TrainingExample[], step: number): Promise<PreparedRows>;
}
