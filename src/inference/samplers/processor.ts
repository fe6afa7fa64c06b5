/** The pieces that turn a model's logits into the distribution a token is drawn from. */
import type { GraphBuilder } from '../../engine/graph/builder.js';
import { fill } from '../../engine/graph/ops.js';
import type { TensorType, Value } from '../../engine/graph/types.js';
import type { Tensor, TensorMap } from '../../engine/runtime/types.js';
import type { Sequence } from '../sequence.js';

export interface StepShape {
  readonly batch: number;
  readonly vocabSize: number;
  /** What `size` returned. */
  readonly size: number;
}

/** What a processor's `prepare` sees of a step. */
export interface SamplingStep {
  /** In slots 0, 1, …; rows behind them are padding. */
  readonly sequences: readonly Sequence[];
  readonly batch: number;
  /** [B, V], as the model gave them. */
  readonly logits: Tensor<'float32'>;
}

/** What a processor builds its part of the graph from, beside the logits. */
interface BuildInputs {
  readonly columns: Readonly<Record<string, Value>>;
  readonly shape: StepShape;
  /** Whether some tokens may be left out already. */
  readonly isCut: boolean;
}

/**
 * A composable piece of the sampling graph. Settings differ from row to row, so they enter as columns ([B, 1] inputs, or wider)
 * and rows of different settings share one graph; only what changes the graph itself is a static `size`.
 */
export interface LogitsProcessor {
  readonly name: string;
  /** Tells the graph it builds from those of other processors of the same name. */
  readonly variant?: string;
  /** Where it acts; default 'beforeTruncation', between the temperature and top-k, top-p and min-p. */
  readonly position?: 'beforeTemperature' | 'beforeTruncation' | 'afterTruncation';
  /** Whether it leaves tokens out: gives them the logit EXCLUDED. Default false. */
  readonly excludes?: boolean;
  /** What it does to the distribution, for the record of a trace. Settings of single sequences belong to the sequence. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Numbers it gives for each token drawn, by name. */
  readonly statistics?: readonly string[];
  /** Whether any of these sequences needs it; the graph leaves it out otherwise, which must change nothing for the others. */
  isNeeded(sequences: readonly Sequence[]): boolean;
  /** Static size for these sequences, from few values: each is a graph of its own. */
  size(sequences: readonly Sequence[], vocabSize: number): number;
  /** The inputs it adds, by name; a defence declares [B, V] tensors here that other models write. */
  columns(shape: StepShape): Readonly<Record<string, TensorType>>;
  /** Tensors that stand in for columns of these names: written elsewhere, as the logits of a companion model are. */
  supplied?(batch: number): TensorMap;
  /**
   * logits [B, V] → logits [B, V]; `check` [B, 1] is for `retry`, and there if and only if that is. `statistics` has an entry for
   * each name declared: [B, 1], or [B, V] of which the entry of the token drawn is taken.
   */
  build(
    g: GraphBuilder,
    logits: Value,
    inputs: BuildInputs,
  ): { readonly logits: Value; readonly check?: Value; readonly statistics?: Readonly<Record<string, Value>> };
  /** Writes the settings of a sequence, which stands in row `row`, into the columns. */
  fill(columns: TensorMap, row: number, sequence: Sequence, shape: StepShape): void;
  /** Runs before the graph does; may compute into the columns. */
  prepare?(step: SamplingStep, columns: TensorMap): Promise<void>;
  /** The larger size to run again with, if `check` shows that this one was too small to be exact. */
  retry?(check: Float32Array, sequences: readonly Sequence[], shape: StepShape): number | undefined;
}

/** The logit of a token that must not be drawn: e to it is 0, and it stays finite (no row becomes NaN) divided by any temperature above 1e-8. */
export const EXCLUDED = -1e30;

export const excluded = (g: GraphBuilder): Value => fill(g, [], EXCLUDED);

/** Type of a column of one number a row. */
export const column = ({ batch }: StepShape): TensorType => ({ dtype: 'float32', shape: [batch, 1] });
