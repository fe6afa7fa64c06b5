/** What the models of the embedded task read, as rows to learn from. */
import type { Random } from '../../support/random.js';
import { generateProblem, type Problem, promptOf } from '../../tasks/embedded/problems.js';
import { renderStatement, type StatementMix } from '../../tasks/embedded/statements.js';
import type { TraceStyle } from '../../tasks/embedded/styles.js';
import { renderTrace } from '../../tasks/embedded/traces.js';
import type { Habits } from '../../tasks/embedded/world.js';
import type { TrainingExample } from '../../training/batches.js';
import { tokenizer } from './models.js';

/** Predictions of a row: a prompt and the longest trace fit. */
export const ROW_TIME = 48;

/** A problem of the training split with a worked answer, of which every word counts. */
export function problemRow(habits: Habits, { style, random }: { style: TraceStyle; random: Random }): TrainingExample {
  const problem = generateProblem('train', random);
  const promptTokens = tokenizer.encode(promptOf(problem));
  const response = tokenizer.encode(renderTrace(problem, habits, { style, random }));
  const tokens = [...promptTokens, ...response, ...tokenizer.eosTokenIds];
  return { id: '', tokens, responseStart: promptTokens.length };
}

/** Statements one after the other, as many as fit, behind `problem` where one is given; what follows from the facts counts. */
export function statementRow(
  habits: Habits,
  { mix, random, problem }: { mix: StatementMix; random: Random; problem?: Problem | undefined },
): TrainingExample {
  const tokens = problem === undefined ? [] : tokenizer.encode(promptOf(problem));
  const weights = tokens.map(() => 0);
  for (;;) {
    const { words, isDetermined } = renderStatement(habits, { mix, random });
    if (tokens.length + words.length > ROW_TIME + 1) return { id: '', tokens, responseStart: 0, weights };
    tokens.push(...words.map((word) => tokenizer.idOf(word)!));
    weights.push(...isDetermined.map(Number));
  }
}
