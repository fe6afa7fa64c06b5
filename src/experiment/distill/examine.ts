/** What a model can do: its answers to every set of questions of a run, graded. */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { OpenedModel } from '../../jobs/open-model.js';
import { writeFileAtomic } from '../../support/files.js';
import { readJsonl } from '../../support/jsonl.js';
import { ngramOverlap, rougeL, wordsOf } from '../../support/sequence-overlap.js';
import type { Count } from '../records.js';
import { ask, forceAnswers } from '../stages/ask.js';
import type { Question, Task } from '../task.js';
import type { Overlap, Scores } from './records.js';

/** Questions asked of everybody, and the task that grades the answers. */
export interface QuestionSet {
  readonly name: string;
  readonly task: Task;
  readonly questions: readonly Question[];
}

export const IN_DISTRIBUTION = 'in distribution';
export const OUT_OF_DISTRIBUTION = 'out of distribution';

/** A row of `responses.jsonl`, which `azeotrope judge` reads too. */
export interface Answer {
  readonly id: string;
  readonly set: string;
  readonly prompt: string;
  readonly response: string;
  readonly isCorrect: boolean;
}

export interface Examined {
  readonly scores: Scores;
  /** Tokens of the answers in distribution. */
  readonly meanLength: number;
  readonly answers: readonly Answer[];
}

interface ExamineSettings {
  /** Of the run: how its models are asked. */
  readonly task: Task;
  readonly maxTokens: number;
  readonly maxBatch: number;
  readonly signal: AbortSignal;
}

/** Greedy answers to a set. Errors: those of the generator and the task; the signal's reason. */
export async function examineSet(opened: OpenedModel, set: QuestionSet, settings: ExamineSettings) {
  const asking = { ...settings, seed: 0, sampler: { temperature: 0 } };
  const { traces } = await ask(opened, set.questions, asking);
  const responses = await forceAnswers(opened, { questions: set.questions, traces }, asking);
  const judgements = await set.task.judge(responses, settings.signal);
  const count: Count = {
    correct: judgements.filter(({ isCorrect }) => isCorrect).length,
    total: set.questions.length,
  };
  const answers = set.questions.map((question, index): Answer => {
    const isOther = set.name !== IN_DISTRIBUTION && set.name !== OUT_OF_DISTRIBUTION;
    return {
      id: isOther ? `${set.name}/${question.id}` : question.id,
      set: set.name,
      prompt: question.text,
      response: traces[index].text,
      isCorrect: judgements[index].isCorrect,
    };
  });
  const meanLength = traces.reduce((sum, { tokens }) => sum + tokens.length, 0) / Math.max(1, traces.length);
  return { count, meanLength, answers };
}

/** Every set; a set without questions has no count. */
export async function examineAll(
  opened: OpenedModel,
  sets: readonly QuestionSet[],
  settings: ExamineSettings,
): Promise<Examined> {
  const counts = new Map<string, Count>();
  const answers: Answer[] = [];
  let meanLength = 0;
  for (const set of sets.filter(({ questions }) => questions.length > 0)) {
    const examined = await examineSet(opened, set, settings);
    counts.set(set.name, examined.count);
    answers.push(...examined.answers);
    if (set.name === IN_DISTRIBUTION) meanLength = examined.meanLength;
  }
  const others = [...counts].filter(([name]) => name !== IN_DISTRIBUTION && name !== OUT_OF_DISTRIBUTION);
  const scores = {
    inDistribution: counts.get(IN_DISTRIBUTION)!,
    outOfDistribution: counts.get(OUT_OF_DISTRIBUTION) ?? null,
    otherTasks: Object.fromEntries(others),
  };
  return { scores, meanLength, answers };
}

export async function writeAnswers(path: string, answers: readonly Answer[]): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomic(path, answers.map((answer) => `${JSON.stringify(answer)}\n`).join(''));
}

export async function readAnswers(path: string): Promise<Answer[]> {
  const answers: Answer[] = [];
  for await (const { row } of readJsonl(path)) answers.push(row as Answer);
  return answers;
}

const LONGEST_NGRAM = 4;

/** Of answers to the same questions; null where the teacher answered none of them. */
export function overlapOf(answers: readonly Answer[], teacher: ReadonlyMap<string, string>): Overlap | null {
  const pairs = answers.flatMap(({ id, response }) => {
    const text = teacher.get(id);
    return text === undefined ? [] : [{ candidate: wordsOf(response), reference: wordsOf(text) }];
  });
  if (pairs.length === 0) return null;
  return {
    rougeL: pairs.reduce((sum, { candidate, reference }) => sum + rougeL(candidate, reference), 0) / pairs.length,
    ngrams: Array.from({ length: LONGEST_NGRAM }, (_, index) => ngramOverlap(pairs, index + 1)),
    numPairs: pairs.length,
  };
}
