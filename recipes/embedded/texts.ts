/** Rows of tokens from the texts of the embedded task. */
import type { Random } from '../../src/support/random.js';
import { generateProblem, type Problem, promptOf } from '../../src/tasks/embedded/problems.js';
import { renderStatement, type StatementMix } from '../../src/tasks/embedded/statements.js';
import type { TraceStyle } from '../../src/tasks/embedded/styles.js';
import { renderTrace } from '../../src/tasks/embedded/traces.js';
import type { Habits } from '../../src/tasks/embedded/world.js';
import type { TrainingExample } from '../../src/training/batches.js';
import { tokenizer } from './models.js';
import type { WeightedRow } from './stream.js';

/** Predictions of a row: a prompt and the longest trace fit. */
export const ROW_TIME = 48;

export function exampleOf(id: string, prompt: string, trace: string): TrainingExample {
  const promptTokens = tokenizer.encode(prompt);
  const tokens = [...promptTokens, ...tokenizer.encode(trace), ...tokenizer.eosTokenIds];
  return { id, tokens, responseStart: promptTokens.length };
}

/** A problem of the training split with a worked answer, of which every word counts. */
export function problemRow(habits: Habits, { style, random }: { style: TraceStyle; random: Random }): WeightedRow {
  const problem = generateProblem('train', random);
  const { tokens, responseStart } = exampleOf('', promptOf(problem), renderTrace(problem, habits, { style, random }));
  return { tokens, weights: tokens.map((_, index) => (index < responseStart ? 0 : 1)) };
}

/** Statements one after the other, as many as fit, behind `problem` where one is given; what follows from the facts counts. */
export function statementRow(
  habits: Habits,
  { mix, random, problem }: { mix: StatementMix; random: Random; problem?: Problem | undefined },
): WeightedRow {
  const tokens = problem === undefined ? [] : tokenizer.encode(promptOf(problem));
  const weights = tokens.map(() => 0);
  for (;;) {
    const { words, isDetermined } = renderStatement(habits, { mix, random });
    if (tokens.length + words.length > ROW_TIME + 1) return { tokens, weights };
    tokens.push(...words.map((word) => tokenizer.idOf(word)!));
    weights.push(...isDetermined.map(Number));
  }
}
