/** What a distillation run leaves for readers: `distill.json` (stable, versioned) and `details.json`, whatever else its report shows. */
import type { Alarm, StepRow, Validation } from '../../methods/gad/alarms.js';
import type { Count, Details } from '../records.js';
import type { Method, Price } from './config.js';

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
  /** Training and evaluations, without the teacher's traces. */
  readonly wallMs: number;
  readonly alarms: readonly Alarm[];
}

export interface Distill {
  readonly schemaVersion: typeof DISTILL_SCHEMA_VERSION;
  readonly commit: string | null;
  readonly rows: readonly DistillRow[];
  readonly toy: {
    readonly gad: readonly number[];
    readonly seqkd: readonly number[];
    readonly teacher: readonly number[];
  } | null;
}

/** A score on the validation split at a step. */
export interface ValidationAt extends Validation {
  readonly step: number;
}

/** How much a student's answers share with the teacher's to the same questions (F-measures over words): diagnostics, no grades. */
export interface Overlap {
  readonly rougeL: number;
  /** Of n-grams, n = 1 … 4; null where no answer is as long. */
  readonly ngrams: readonly (number | null)[];
  /** Questions that both answered. */
  readonly numPairs: number;
}

/** Accuracy of somebody on every set of questions. */
export interface Scores {
  readonly inDistribution: Count;
  readonly outOfDistribution: Count | null;
  /** By the names of `otherTasks`. */
  readonly otherTasks: Readonly<Record<string, Count>>;
}

/** What the report knows of a student beside its row; one in training has no scores yet. */
export interface StudentDetails {
  readonly method: Method;
  readonly variant: string;
  readonly seed: number;
  /** In what it differs from the run. */
  readonly set: Readonly<Record<string, unknown>>;
  readonly isDone: boolean;
  readonly numTraces: number;
  readonly otherTasks: Readonly<Record<string, Count>>;
  /** Of the weights that were kept; null where none were chosen by a validation score. */
  readonly validation: ValidationAt | null;
  readonly validations: readonly ValidationAt[];
  readonly overlap: Overlap | null;
  /** Of an adversarial student. */
  readonly steps: readonly StepRow[];
  readonly trainingMs: number | null;
}

/** One question with what teacher and students answered. */
export interface ShownResponses {
  readonly set: string;
  readonly question: string;
  readonly answers: readonly { readonly name: string; readonly text: string; readonly isCorrect: boolean | null }[];
}

/** What the teacher's traces of an endpoint cost, by all calls of the run. */
export interface Spend {
  readonly numAnswers: number;
  readonly promptTokens: number;
  readonly responseTokens: number;
  readonly price: Price | null;
  /** Questions that were left out because they got no answer. */
  readonly numSkipped: number;
}

export interface DistillDetails {
  readonly schemaVersion: typeof DISTILL_SCHEMA_VERSION;
  readonly name: string;
  readonly command: string;
  readonly config: unknown;
  readonly versions: Readonly<Record<string, string>>;
  readonly machine: Details['machine'];
  /** That everything was computed in. */
  readonly precision: string;
  readonly progress: {
    readonly done: number;
    readonly total: number;
    /** What is at work now. */
    readonly now: string | null;
  };
  readonly teacher: Scores | null;
  /** Students before they see a trace. */
  readonly undistilled: readonly (Scores & { readonly seed: number })[];
  readonly students: readonly StudentDetails[];
  readonly responses: readonly ShownResponses[];
  readonly spend: Spend | null;
}
