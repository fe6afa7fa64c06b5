/**
 * Stages: pure descriptions of work, each named by a hash of all that decides its result. Plain JSON, so that they can be sent to
 * another process; `stages/` holds what runs them.
 */
import type { PrecisionChoice } from '../engine/compiler.js';
import type { EstimatorKind } from '../methods/antidistillation/estimators.js';
import { sha256OfJson } from '../support/hash.js';
import type { TokenizerMatch } from '../tokenizer/fingerprint.js';
import type { TrainingConfig } from '../training/config.js';
import type { StrengthConfig } from './config.js';
import type { Count, ShownTrace } from './records.js';
import type { ModelRequest, Purpose, Work } from './task.js';

export type StageKind = 'model' | 'traces' | 'proxy' | 'strength' | 'student' | 'evaluation' | 'shown' | 'cost';

/** Raised when a kind of stage computes or writes something else than before: its stored results are then made anew. */
const FORMATS: Readonly<Record<StageKind, number>> = {
  model: 1,
  traces: 1,
  proxy: 1,
  strength: 1,
  student: 1,
  evaluation: 1,
  shown: 1,
  cost: 1,
};

/** A model that is there, or the stage that makes it. */
export type ModelRef = { readonly location: string; readonly identity: string } | { readonly stage: string };

/** How a teacher samples. */
export interface Sampling {
  readonly temperature: number;
  readonly minP: number;
  /** λ null: what the stage `strength` finds. Its proxy is the stage `proxy`, of the model `proxy`. */
  readonly tilt?: Tilt & { readonly lambda: number | null };
  readonly rule?: { readonly words: readonly string[]; readonly nats: number };
}

export interface Tilt {
  readonly estimator: EstimatorKind;
  readonly order: 'paper' | 'reference-code';
  readonly permuted: boolean;
}

/** Length and breadth of sampling; the breadth decides rounding, and so belongs to what a result depends on. */
export interface Sizes {
  readonly maxTokens: number;
  readonly maxBatch: number;
}

interface StageInputs {
  /** models: from0, from1 …; needs: holdout. */
  model: { readonly request: ModelRequest; readonly recipe: unknown };
  /** Questions [from, to) answered by the model `teacher`. needs: proxy, strength where the tilt asks for them. */
  traces: Sizes & {
    readonly purpose: Purpose;
    readonly from: number;
    readonly to: number;
    readonly seed: number;
    readonly sampling: Sampling;
    readonly chunk: number;
    /** Of undefended traces: that no answer can be read is then an error and not a result. */
    readonly mustParse: boolean;
  };
  /** models: proxy, teacher (for its tokenizer); needs: holdout. `proxyTokenizer`, of the task, is absent where it is 'equal'. */
  proxy: { readonly microBatchTokens: number; readonly proxyTokenizer?: TokenizerMatch };
  /** models: teacher, proxy; needs: proxy. */
  strength: Sizes & {
    readonly strength: StrengthConfig;
    readonly sampling: Sampling;
    readonly tilt: Tilt;
    readonly count: number;
    readonly tolerance: number;
    readonly seed: number;
  };
  /** models: base; needs: traces0, traces1 …, clean. */
  student: { readonly training: TrainingConfig; readonly attack: string | null };
  /** models: model, or the base of needs.student. */
  evaluation: Sizes & {
    readonly purpose: Purpose;
    readonly count: number;
    readonly temperature: number;
    readonly seed: number;
    /** Names of the task's probes to run as well. */
    readonly probes: readonly string[];
    /** Whether the loss on the task's worked solutions is measured; absent where it is not. */
    readonly scoresSolutions?: true;
  };
  /** The first traces, token by token. models: teacher, proxy where there is one; needs: traces, proxy. */
  shown: { readonly count: number };
  /** models: teacher, proxy0, proxy1 …; needs: proxy0, strength0 …, each where the arm of that index asks for it. */
  cost: Sizes & {
    readonly arms: readonly Sampling[];
    readonly count: number;
    readonly rounds: number;
    readonly seed: number;
  };
}

export interface StageResults {
  model: Record<string, never>;
  traces: Count & {
    readonly parsed: number;
    readonly finished: number;
    readonly tokens: number;
    /** Over response tokens; null where nothing was tilted. */
    readonly meanKlNats: number | null;
    /** Of the teacher: students of another learn from the text. */
    readonly tokenizerFingerprint: string;
  };
  proxy: {
    readonly lossNats: number;
    readonly responseTokens: number;
    readonly gradientNorm: number;
    readonly epsilon: number;
    readonly epsilonStudy: readonly { readonly epsilon: number; readonly error: number }[];
  };
  strength: {
    readonly lambda: number;
    /** What the strength was measured by: nats a token, or accuracy lost. */
    readonly measured: number;
    /** False where the support allows no more. */
    readonly isReached: boolean;
    readonly numMeasurements: number;
  };
  student: {
    readonly form: 'model' | 'adapter';
    readonly numRows: number;
    readonly numSteps: number;
    readonly lossNats: number | null;
  };
  evaluation: Count & {
    readonly parsed: number;
    readonly finished: number;
    readonly probes: Readonly<Record<string, Count>>;
    readonly solutionLossNats?: number;
  };
  shown: {
    readonly traces: readonly (Pick<ShownTrace, 'isCorrect' | 'tokens'> & { readonly id: string })[];
  };
  /** Of each arm, medians over the rounds; plain sampling beside it. */
  cost: {
    readonly plainTokensPerSecond: number;
    readonly arms: readonly { readonly tokensPerSecond: number; readonly relativeToPlain: number }[];
  };
}

export interface Stage<K extends StageKind = StageKind> {
  readonly kind: K;
  /** `traces-3f2a…`: kind and key, the name of its folder. */
  readonly id: string;
  /** For people: `traces: antidistillation 0.2 nats, teacher 1, seed 1`. */
  readonly label: string;
  readonly inputs: StageInputs[K];
  readonly models: Readonly<Record<string, ModelRef>>;
  /** Stages whose results it reads, by what they are to it. */
  readonly needs: Readonly<Record<string, string>>;
  /** Of the task, where the result depends on questions. */
  readonly taskIdentity: unknown;
  /** What its models compute in. */
  readonly precision: PrecisionChoice;
  readonly work: Work;
}

/** Stages by kind: what a switch over `kind` narrows. */
export type AnyStage = { [K in StageKind]: Stage<K> }[StageKind];

const KEY_DIGITS = 16;

/** Names a stage by all that decides its result: kind, format, inputs, models by their weights, and the keys of what it needs. */
export function defineStage<K extends StageKind>(stage: Omit<Stage<K>, 'id'>): Stage<K> {
  const { kind, inputs, models, needs, taskIdentity, precision } = stage;
  const weights = Object.entries(models).map(([name, ref]) => [name, 'stage' in ref ? ref.stage : ref.identity]);
  const key = sha256OfJson([FORMATS[kind], kind, inputs, Object.fromEntries(weights), needs, taskIdentity, precision]);
  return { ...stage, id: `${kind}-${key.slice(0, KEY_DIGITS)}` };
}

/** Ids of the stages that must be done before. */
export function dependenciesOf({ models, needs }: Pick<Stage, 'models' | 'needs'>): string[] {
  const ofModels = Object.values(models).flatMap((ref) => ('stage' in ref ? [ref.stage] : []));
  return [...new Set([...ofModels, ...Object.values(needs)])];
}
