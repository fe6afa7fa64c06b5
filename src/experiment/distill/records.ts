/** What a distillation run leaves for readers: `distill.json` (stable, versioned). */
import type { Alarm, StepRow, Validation } from '../../methods/gad/alarms.js';
import type { Count } from '../records.js';
import type { Method } from './config.js';

export const DISTILL_SCHEMA_VERSION = 1;

/** One student. */
export interface DistillRow {
  readonly method: Method;
  readonly variant: string;
  readonly seed: number;
  readonly inDistribution: Count;
  /** Null where the run has no such questions. */
  readonly outOfDistribution: Count | null;
  /** Tokens of its greedy answers in distribution. */
  readonly meanLength: number;
  /** Response tokens of the teacher that it learned from. */
  readonly tokens: number;
  readonly numTraces: number;
  /** Training and evaluations, without the teacher's traces. */
  readonly wallMs: number;
  readonly alarms: readonly Alarm[];
  /** Of the student that was kept; null where none was chosen by a validation score. */
  readonly validation: (Validation & { readonly step: number }) | null;
}

export interface Distill {
  readonly schemaVersion: typeof DISTILL_SCHEMA_VERSION;
  readonly commit: string | null;
  readonly name: string;
  readonly teacher: { readonly inDistribution: Count; readonly outOfDistribution: Count | null } | null;
  /** Students before they see a trace. */
  readonly undistilled: readonly Pick<DistillRow, 'seed' | 'inDistribution' | 'outOfDistribution'>[];
  readonly rows: readonly DistillRow[];
  /** Steps of adversarial students, by variant and seed. */
  readonly curves: readonly { readonly variant: string; readonly seed: number; readonly steps: readonly StepRow[] }[];
  readonly toy: {
    readonly gad: readonly number[];
    readonly seqkd: readonly number[];
    readonly teacher: readonly number[];
  } | null;
}
