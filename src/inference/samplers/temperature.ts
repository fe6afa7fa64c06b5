import { divide } from '../../engine/graph/ops.js';
import { column, type LogitsProcessor } from './processor.js';
import { isGreedy } from './settings.js';

/** z ← z / temperature. Greedy rows keep theirs. */
export const temperature: LogitsProcessor = {
  name: 'temperature',
  isNeeded: (sequences) => sequences.some(({ sampler }) => !isGreedy(sampler) && sampler.temperature !== 1),
  size: () => 0,
  columns: (shape) => ({ value: column(shape) }),
  build: (g, logits, { columns: { value } }) => ({ logits: divide(g, logits, value) }),
  fill(columns, row, { sampler }) {
    columns.value.data[row] = isGreedy(sampler) ? 1 : sampler.temperature;
  },
};
