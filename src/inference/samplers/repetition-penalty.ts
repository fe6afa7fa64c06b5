import {
  divide,
  gatherElements,
  lessOrEqual,
  multiply,
  scalar,
  scatterElements,
  select,
} from '../../engine/graph/ops.js';
import type { Tensor, TensorMap } from '../../engine/runtime/types.js';
import { doubledTo } from '../buckets.js';
import type { Sequence } from '../sequence.js';
import type { LogitsProcessor } from './processor.js';

const FIRST_SIZE = 64;

/** The distinct ids of a sequence, in order of appearance. */
interface Seen {
  readonly ids: number[];
  readonly known: Set<number>;
  numResponse: number;
}

/** What was last written to a row: ids beyond it need writing, the rest stands. */
interface Written {
  readonly sequence: Sequence;
  count: number;
}

/**
 * z ← z / penalty where z > 0, z · penalty elsewhere, for every token that occurs in prompt or response. Rows list their distinct
 * ids, padded with their first.
 * @see Keskar et al., "CTRL", section 4.1; transformers' RepetitionPenaltyLogitsProcessor
 */
export function createRepetitionPenalty(): LogitsProcessor {
  const seenBy = new WeakMap<Sequence, Seen>();
  const rowsOf = new WeakMap<Tensor, (Written | undefined)[]>();

  const idsSeen = (sequence: Sequence): readonly number[] => {
    let seen = seenBy.get(sequence);
    if (seen === undefined) {
      const known = new Set(sequence.promptTokens);
      seen = { known, ids: [...known], numResponse: 0 };
      seenBy.set(sequence, seen);
    }
    for (; seen.numResponse < sequence.tokens.length; seen.numResponse++) {
      const id = sequence.tokens[seen.numResponse];
      if (seen.known.has(id)) continue;
      seen.known.add(id);
      seen.ids.push(id);
    }
    return seen.ids;
  };
  const penaltyOf = (sequence: Sequence) => sequence.sampler.repetitionPenalty;

  return {
    name: 'repetitionPenalty',
    isNeeded: (sequences) => sequences.some((sequence) => penaltyOf(sequence) !== 1),
    size(sequences, vocabSize) {
      const penalised = sequences.filter((sequence) => penaltyOf(sequence) !== 1);
      return Math.min(doubledTo(Math.max(...penalised.map((s) => idsSeen(s).length)), FIRST_SIZE), vocabSize);
    },
    columns: ({ batch, size }) => ({
      penalty: { dtype: 'float32', shape: [batch, 1] },
      ids: { dtype: 'int64', shape: [batch, size] },
    }),
    build(g, logits, { columns: { penalty, ids } }) {
      const seen = gatherElements(g, logits, ids); // [B, M]
      const isNegative = lessOrEqual(g, seen, scalar(g, 0));
      const penalised = select(g, isNegative, multiply(g, seen, penalty), divide(g, seen, penalty));
      return { logits: scatterElements(g, logits, ids, penalised) };
    },
    fill(columns: TensorMap, row, sequence) {
      columns.penalty.data[row] = penaltyOf(sequence);
      if (penaltyOf(sequence) === 1) return; // x / 1 = x, whichever ids the row lists
      const ids = idsSeen(sequence);
      const tensor = columns.ids as Tensor<'int64'>;
      const width = tensor.shape[1];
      const rows = rowsOf.get(tensor) ?? [];
      rowsOf.set(tensor, rows);
      let written = rows[row];
      if (written?.sequence !== sequence) {
        written = { sequence, count: 0 };
        rows[row] = written;
        tensor.data.fill(BigInt(ids[0]), row * width, (row + 1) * width);
      }
      for (; written.count < ids.length; written.count++) {
        tensor.data[row * width + written.count] = BigInt(ids[written.count]);
      }
    },
  };
}
