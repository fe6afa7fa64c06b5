import {
  cast,
  cumulativeSum,
  gatherElements,
  lessOrEqual,
  minimum,
  reduceSum,
  scalar,
  select,
  slice,
  softmax,
  subtract,
  topK,
} from '../../engine/graph/ops.js';
import { column, excluded, type LogitsProcessor } from './processor.js';
import { isGreedy, type SamplerSettings } from './settings.js';

/** Candidates looked at first: nearly always enough, and far cheaper to sort than a vocabulary. */
const FIRST_SIZE = 1024;
const GROWTH = 8;

/** p of a row that limits anything, else 1. */
const limit = (sampler: SamplerSettings): number => (isGreedy(sampler) ? 1 : sampler.topP);

/**
 * Keeps the likeliest tokens up to the one that brings their probability to p (and all of those equal to it). Only the M likeliest
 * are sorted; a row whose M candidates stay below p is found out by `retry` and done again with more, so it is exact.
 * @see Holtzman et al., "The curious case of neural text degeneration", section 3.1
 */
export const topP: LogitsProcessor = {
  name: 'topP',
  excludes: true,
  isNeeded: (sequences) => sequences.some(({ sampler }) => limit(sampler) < 1),
  size: (_, vocabSize) => Math.min(FIRST_SIZE, vocabSize),
  columns: (shape) => ({
    mass: column(shape),
    /** Nothing below it is ever left out for a row with no limit: 0, else 1. */
    ceiling: column(shape),
  }),
  build(g, logits, { columns: { mass, ceiling }, shape: { size } }) {
    const p = softmax(g, logits);
    const candidates = topK(g, p, size).values; // [B, M], descending
    const cumulative = cumulativeSum(g, candidates);
    // Of the candidates, those that reach the mass are left out, but for the first of them.
    const reached = cast(g, lessOrEqual(g, mass, cumulative), 'float32');
    const last = minimum(
      g,
      subtract(g, scalar(g, size), reduceSum(g, reached, [1], true)), // [B, 1]
      scalar(g, size - 1),
    );
    const threshold = minimum(g, gatherElements(g, candidates, cast(g, last, 'int64')), ceiling);
    return {
      logits: select(g, lessOrEqual(g, threshold, p), logits, excluded(g)),
      check: slice(g, cumulative, { axis: 1, start: size - 1, end: size }),
    };
  },
  fill(columns, row, { sampler }) {
    columns.mass.data[row] = limit(sampler);
    columns.ceiling.data[row] = limit(sampler) < 1 ? 1 : 0;
  },
  retry(candidateMass, sequences, { size, vocabSize }) {
    if (size >= vocabSize) return undefined;
    const isShort = sequences.some(
      ({ sampler }, row) => limit(sampler) < 1 && candidateMass[row] < Math.fround(sampler.topP),
    );
    return isShort ? Math.min(size * GROWTH, vocabSize) : undefined;
  },
};
