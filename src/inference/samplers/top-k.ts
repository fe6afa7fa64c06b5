import { gatherElements, topK as largest, lessOrEqual, minimum, select } from '../../engine/graph/ops.js';
import { column, EXCLUDED, excluded, type LogitsProcessor } from './processor.js';
import { isGreedy, type SamplerSettings } from './settings.js';

const SIZES = [16, 64, 256, 1024, 4096, 16384];
const UNLIMITED = 3e38;

/** k of a row that limits anything, else 0. */
const limit = (sampler: SamplerSettings): number => (isGreedy(sampler) ? 0 : sampler.topK);

/** Keeps z ≥ the k-th largest z of the row (so all of those equal to it). */
export const topK: LogitsProcessor = {
  name: 'topK',
  excludes: true,
  isNeeded: (sequences) => sequences.some(({ sampler }) => limit(sampler) > 0),
  size(sequences, vocabSize) {
    const most = Math.max(...sequences.map(({ sampler }) => limit(sampler)));
    return Math.min(SIZES.find((size) => size >= most) ?? vocabSize, vocabSize);
  },
  columns: (shape) => ({
    /** k − 1 */
    last: { dtype: 'int64', shape: [shape.batch, 1] },
    /** EXCLUDED where the row has no limit. */
    ceiling: column(shape),
  }),
  build(g, logits, { columns: { last, ceiling }, shape }) {
    const threshold = minimum(g, gatherElements(g, largest(g, logits, shape.size).values, last), ceiling);
    return { logits: select(g, lessOrEqual(g, threshold, logits), logits, excluded(g)) };
  },
  fill(columns, row, { sampler }, { size }) {
    const k = limit(sampler);
    columns.last.data[row] = BigInt(Math.min(Math.max(k, 1), size) - 1);
    columns.ceiling.data[row] = k === 0 ? EXCLUDED : UNLIMITED;
  },
};
