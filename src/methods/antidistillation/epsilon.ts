/** The step of the difference estimators, chosen by measuring their error against the exact derivative. */
import type { LanguageModel } from '../../model/language-model.js';
import { DataError } from '../../support/errors.js';
import { numResponseTokens, type TrainingExample } from '../../training/batches.js';
import { createDeltaEstimator } from './estimators.js';

export interface EpsilonStudy {
  /** The step with the smallest error. */
  readonly epsilon: number;
  /** Each step that was tried, ascending, with its error in 0–1. */
  readonly epsilonStudy: readonly { readonly epsilon: number; readonly error: number }[];
}

/**
 * Lengths ε‖g‖ that are tried, relative to ‖θ‖. Too short and float32 rounds the difference away, too long and it bends: the best
 * has been seen between 1e-5 and 1e-3 in models from a few thousand weights to a hundred million.
 */
const RELATIVE_STEPS = Array.from({ length: 9 }, (_, index) => 10 ** (-6 + index / 2));
const STUDIED_ROWS = 4;
const STUDIED_TOKENS = 512;
const POSITIONS_A_ROW = 16;

/**
 * error(ε) = √(1 − cos²∠(Δ̂, Δ)) of central differences over all ids at some response positions of the first rows.
 * Errors: DataError where no step gives a finite difference.
 * @see arXiv 2504.13146, the study of finite differences
 */
export async function studyEpsilon(
  model: LanguageModel,
  gradient: ReadonlyMap<string, Float32Array>,
  { examples, signal }: { examples: readonly TrainingExample[]; signal?: AbortSignal | undefined },
): Promise<EpsilonStudy> {
  const rows = studiedRows(examples);
  const positions = rows.map(studiedPositions);
  const measure = async (kind: 'jvp' | 'central', epsilon: number): Promise<Float32Array[]> => {
    const estimator = createDeltaEstimator(model, gradient, { kind, epsilon });
    try {
      const numbers = await estimator.estimate(rows, { vectorsAfter: (row) => positions[row], signal });
      return numbers.flatMap(({ vectors }) => vectors);
    } finally {
      estimator.dispose();
    }
  };
  const unit = norm([...model.parameters.values()].map(({ data }) => data)) / norm([...gradient.values()]);
  const exact = await measure('jvp', 0);
  const epsilonStudy: { epsilon: number; error: number }[] = [];
  for (const step of RELATIVE_STEPS) {
    const epsilon = Number((step * unit).toPrecision(3));
    const error = sineBetween(await measure('central', epsilon), exact);
    if (Number.isFinite(error)) epsilonStudy.push({ epsilon, error });
  }
  if (epsilonStudy.length === 0)
    throw new DataError(
      'No step along the gradient gives a finite difference of log-probabilities: the weights or the gradient are too large for float32. Check the checkpoint.',
    );
  const { epsilon } = epsilonStudy.reduce((best, next) => (next.error < best.error ? next : best));
  return { epsilon, epsilonStudy };
}

/** The first rows, as many as the budget of tokens allows, cut where it ends. */
function studiedRows(examples: readonly TrainingExample[]): TrainingExample[] {
  const rows: TrainingExample[] = [];
  let left = STUDIED_TOKENS;
  for (const example of examples.filter((each) => numResponseTokens(each) > 0)) {
    if (rows.length === STUDIED_ROWS || (rows.length > 0 && left < example.responseStart + POSITIONS_A_ROW)) break;
    const cut = {
      ...example,
      tokens: example.tokens.slice(0, Math.max(left, example.responseStart + POSITIONS_A_ROW)),
    };
    rows.push(cut);
    left -= cut.tokens.length;
  }
  return rows;
}

/** Positions whose next token is a response token, evenly spread. */
function studiedPositions(row: TrainingExample): number[] {
  const first = Math.max(1, row.responseStart) - 1;
  const count = row.tokens.length - 1 - first;
  const taken = Math.min(count, POSITIONS_A_ROW);
  return Array.from({ length: taken }, (_, index) => first + Math.floor((index * count) / taken));
}

function norm(parts: readonly Float32Array[]): number {
  let square = 0;
  for (const part of parts) for (const value of part) square += value * value;
  return Math.sqrt(square);
}

/** √(1 − cos²) of the angle between two vectors given in parts, as the length of what is left of `a` without its part along `b`. */
function sineBetween(a: readonly Float32Array[], b: readonly Float32Array[]): number {
  let [aa, ab, bb] = [0, 0, 0];
  for (const [part, values] of a.entries()) {
    for (const [index, x] of values.entries()) {
      const y = b[part][index];
      aa += x * x;
      ab += x * y;
      bb += y * y;
    }
  }
  let rest = 0;
  for (const [part, values] of a.entries()) {
    for (const [index, x] of values.entries()) rest += (x - (ab / bb) * b[part][index]) ** 2;
  }
  return Math.sqrt(rest / aa);
}
