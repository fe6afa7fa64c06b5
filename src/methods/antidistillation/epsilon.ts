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
 * Where the search begins: the length ε‖g‖ of the step. Too short and float32 rounds the difference away, too long and it bends; the
 * best has been seen between 6e-4 and 4e-3 in models from ten thousand weights to a hundred million, whatever ‖θ‖.
 */
const FIRST_LENGTH = 1e-3;
/** Half decades by which the length changes, and how many at most to either side. */
const FACTOR = Math.sqrt(10);
const MOST_STEPS = 10;
/** Steps with larger errors to see on either side before the search ends. */
const SEEN_BESIDE = 2;
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
  const length = norm([...gradient.values()]);
  const exact = await measure('jvp', 0);
  const tried = new Map<number, { readonly epsilon: number; readonly error: number }>();
  for (let step: number | undefined = 0; step !== undefined; step = nextStep(tried)) {
    const epsilon = Number(((FIRST_LENGTH * FACTOR ** step) / length).toPrecision(3));
    const error = sineBetween(await measure('central', epsilon), exact);
    tried.set(step, { epsilon, error: Number.isFinite(error) ? error : Number.POSITIVE_INFINITY });
  }
  const epsilonStudy = [...tried.values()].filter(({ error }) => error <= 1).sort((a, b) => a.epsilon - b.epsilon);
  if (epsilonStudy.length === 0)
    throw new DataError(
      'No step along the gradient gives a finite difference of log-probabilities: the weights or the gradient are too large for float32. Check the checkpoint.',
    );
  const { epsilon } = epsilonStudy.reduce((best, next) => (next.error < best.error ? next : best));
  return { epsilon, epsilonStudy };
}

/** The next step to try, in half decades from the first: outward from the best so far until it has worse ones on both sides. */
function nextStep(tried: ReadonlyMap<number, { readonly error: number }>): number | undefined {
  const best = [...tried.keys()].reduce((a, b) => (tried.get(b)!.error < tried.get(a)!.error ? b : a));
  const around = Array.from({ length: SEEN_BESIDE }, (_, index) => [best + index + 1, best - index - 1]).flat();
  return around.find((step) => !tried.has(step) && Math.abs(step) <= MOST_STEPS);
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
