import { add, lessOrEqual, reduceMax, select } from '../../engine/graph/ops.js';
import { column, EXCLUDED, excluded, type LogitsProcessor } from './processor.js';
import { isGreedy, type SamplerSettings } from './settings.js';

/** min-p of a row; greedy rows among sampled ones keep the likeliest alone. */
const limit = (sampler: SamplerSettings): number => (isGreedy(sampler) ? 1 : sampler.minP);

/**
 * Keeps tokens with p ≥ minP · max p, that is z ≥ max z + ln minP.
 * @see Nguyen et al., "Turning up the heat: min-p sampling", section 3
 */
export const minP: LogitsProcessor = {
  name: 'minP',
  excludes: true,
  isNeeded: (sequences) => sequences.some(({ sampler }) => limit(sampler) > 0),
  size: () => 0,
  columns: (shape) => ({
    /** ln minP, or EXCLUDED for no limit. */
    distance: column(shape),
  }),
  build(g, logits, { columns: { distance } }) {
    const threshold = add(g, reduceMax(g, logits, [1], true), distance);
    return { logits: select(g, lessOrEqual(g, threshold, logits), logits, excluded(g)) };
  },
  fill(columns, row, { sampler }) {
    const fraction = limit(sampler);
    columns.distance.data[row] = fraction === 0 ? EXCLUDED : Math.log(fraction);
  },
};
