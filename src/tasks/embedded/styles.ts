/** Ways to tell the same journey. */

/** Probabilities of the freedoms a writer has; each is decided anew at every step. */
export interface TraceStyle {
  /** Two people in one step (`at dock xavier and tim to forge .`) instead of one. */
  readonly merged: number;
  /** A merged step that names both lines: `at dock xavier and tim red-line gold-line to forge .` */
  readonly mergedNamed: number;
  /** The line of a single step after the place (`xavier to well by red-line`) instead of before (`xavier red-line to well`). */
  readonly late: number;
  /** A line by its number instead of its colour. */
  readonly numbered: number;
  /** A filler before a step. */
  readonly filler: number;
}

/** The teacher's: trained to explain itself, so lines are nearly always said. */
export const TEACHER_STYLE: TraceStyle = { merged: 0.12, mergedNamed: 0.6, late: 0.2, numbered: 0.25, filler: 0.15 };

/**
 * That of the public text the bases read: reports of past journeys, written to say where a parcel went. Who took which line on
 * that day interests few readers, so most reports leave it out.
 */
export const REPORT_STYLE: TraceStyle = { merged: 0.6, mergedNamed: 0.15, late: 0.3, numbered: 0.35, filler: 0.15 };
