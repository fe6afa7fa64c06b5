/**
 * What a run leaves for readers: `tradeoff.json` (stable, versioned, documented in docs/formats.md) and `details.json`, which holds
 * whatever else the report shows. The report is a function of these two files alone.
 */

import type { PrecisionChoice } from '../engine/compiler.js';

export const TRADEOFF_SCHEMA_VERSION = 1;

export type Arm = 'temperature' | 'maskedTemperature' | 'antidistillation' | 'permutation' | 'rule' | 'greedy';

export interface Count {
  readonly correct: number;
  readonly total: number;
}

/** A rule that answers without a model: what any model has to beat. */
export interface Baseline extends Count {
  readonly name: string;
}

/** One student distilled from one teacher under one sampler. */
export interface TradeoffPoint {
  readonly arm: Arm;
  /**
   * What the sampler was told, with what was solved for: temperature, support, budgetNats, lambda, words … `name` is what tables and
   * figures call it. Points that differ only in what was solved for (lambda where budgetNats or maxAccuracyLoss is given) and in
   * seeds are one setting.
   */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Of proxy, student and traces. */
  readonly seed: number;
  readonly teacherSeed: number;
  /** The teacher's answers under this sampler. */
  readonly teacher: Count;
  readonly student: Count & {
    readonly finished: number;
    /** Mean loss a token on worked solutions of the evaluation's questions, nats; absent where the task has none. */
    readonly lossNats?: number;
  };
  /** Length of the student's training, 1 being the run's own. */
  readonly trainingMultiple: number;
  /** Whether the proxy was the student's own base. */
  readonly studentKind: 'blackBox' | 'whiteBox';
  /** How the student adapted to the defence. */
  readonly attack: string | null;
  readonly proxyKind: string;
  /** Mean over response tokens of KL(tilted ‖ untilted); null where nothing was tilted. */
  readonly meanKlNats: number | null;
  /** Response tokens of the training traces. */
  readonly tokens: number;
  /** Traces, student and evaluations of this point. */
  readonly wallMs: number;
}

export interface Tradeoff {
  readonly schemaVersion: typeof TRADEOFF_SCHEMA_VERSION;
  readonly commit: string | null;
  /** That everything but the gradients of proxies was computed in; absent in runs from before there was another than float32. */
  readonly precision?: PrecisionChoice;
  readonly points: readonly TradeoffPoint[];
  /** Students before they see a trace. */
  readonly undistilled: readonly (Count & { readonly seed: number; readonly lossNats?: number })[];
  /** Rules without a model, on the evaluation's questions; absent where the task knows none. */
  readonly baselines?: readonly Baseline[];
  /** Error √(1 − cos²∠) of central differences against the exact derivative, by ε (of the first proxy). */
  readonly errorStudy: readonly { readonly epsilon: number; readonly error: number }[];
  /** By arm, of its first setting; `relativeToPlain`: seconds a token over those of plain sampling. */
  readonly cost: readonly { readonly arm: Arm; readonly tokensPerSecond: number; readonly relativeToPlain: number }[];
}

/** One trace shown in the report, token by token. */
export interface ShownTrace {
  readonly arm: Arm;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly teacherSeed: number;
  readonly seed: number;
  readonly question: string;
  readonly isCorrect: boolean;
  readonly tokens: readonly {
    readonly text: string;
    /** Δ of the token under the run's proxy; null where there is none. */
    readonly delta: number | null;
    /** Its log-probability under the untilted teacher. */
    readonly logProbability: number | null;
  }[];
}

/** A fact about a model or about the traces of an arm: what the bases can do, which style each has. */
export interface FactTable {
  readonly title: string;
  readonly caption: string;
  readonly columns: readonly string[];
  readonly rows: readonly { readonly name: string; readonly values: readonly (number | string | null)[] }[];
}

export interface StageCost {
  /** `traces`, `student`, `evaluate` … */
  readonly kind: string;
  readonly count: number;
  readonly wallMs: number;
  /** Part of wallMs that was spent waiting for the engine. */
  readonly engineMs: number;
}

export interface Details {
  readonly schemaVersion: typeof TRADEOFF_SCHEMA_VERSION;
  readonly name: string;
  /** Whether the run is the short form, with fewer points. */
  readonly isQuick: boolean;
  readonly task: { readonly name: string; readonly description: string; readonly chance: number | null };
  /** Response tokens at training multiple 1 and so on: what a reader must know to repeat the run. */
  readonly config: unknown;
  readonly versions: Readonly<Record<string, string>>;
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly memoryGiB: number;
    readonly threads: number;
  };
  readonly startedAt: string;
  readonly wallMs: number;
  /** Of a run in progress. */
  readonly progress: { readonly done: number; readonly total: number };
  readonly stages: readonly StageCost[];
  /** How adaptive students adapt and what other proxies are: a sentence each, by their names in the points. */
  readonly glossary?: {
    readonly attacks: Readonly<Record<string, string>>;
    readonly proxyKinds: Readonly<Record<string, string>>;
  };
  /** The command that made this run, without its output folder: `azeotrope tradeoff --config …`. */
  readonly command?: string;
  readonly facts: readonly FactTable[];
  readonly traces: readonly ShownTrace[];
}
