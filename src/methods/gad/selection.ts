/** Which student of a run is kept: that with the highest share of right answers on the validation split, the earliest of equals. */
import type { StepRow, Validation } from './alarms.js';

const shareOf = ({ correct, total }: Validation): number => correct / total;

/** Whether the student of a row takes the place of the best so far. */
export function isBetter(row: StepRow, best: StepRow | undefined): boolean {
  if (row.validation === null) return false;
  return best === undefined || shareOf(row.validation) > shareOf(best.validation!);
}

/** The row of the student that is kept; undefined where none was evaluated. */
export const bestOf = (rows: readonly StepRow[]): StepRow | undefined =>
  rows.reduce<StepRow | undefined>((best, row) => (isBetter(row, best) ? row : best), undefined);
