/** Which student of a run is kept: that with the highest share of right answers on the validation split, the earliest of equals. */
import type { StepRow, Validation } from './alarms.js';

const shareOf = ({ correct, total }: Validation): number => correct / total;

/** Whether a score, the later one, takes the place of the best so far. */
export const isHigher = (score: Validation, best: Validation | undefined): boolean =>
  best === undefined || shareOf(score) > shareOf(best);

/** Whether the student of a row takes the place of the best so far. */
export const isBetter = (row: StepRow, best: StepRow | undefined): boolean =>
  row.validation !== null && isHigher(row.validation, best?.validation ?? undefined);

/** The row of the student that is kept; undefined where none was evaluated. */
export const bestOf = (rows: readonly StepRow[]): StepRow | undefined =>
  rows.reduce<StepRow | undefined>((best, row) => (isBetter(row, best) ? row : best), undefined);
