/** The judge protocol: the judge's own answer, then both orders of comparison. */
import { join } from 'node:path';
import { askAll } from '../../inference/endpoint/ask-all.js';
import type { ChatFailure, ChatRequest, Responder } from '../../inference/endpoint/responder.js';
import { comparisonMessages, JUDGE_PROMPTS_VERSION, parseScores, referenceMessages } from './prompts.js';
import { type JudgedResponse, type JudgeSummary, relativeScore, summarizeScores } from './scores.js';

export interface ResponseToJudge {
  readonly id: string;
  readonly question: string;
  readonly response: string;
}

export interface JudgeResult extends JudgeSummary {
  readonly judge: Readonly<Record<string, unknown>>;
  /** Models that answered, as the endpoint names them: more than one, or another than was asked for, where the name is an alias. */
  readonly models: readonly string[];
  /** Responses that have no score because the judge did not answer; they do not count as unparsable. */
  readonly numUnanswered: number;
  readonly promptsVersion: number;
  readonly responses: readonly JudgedResponse[];
  /** Requests the judge did not answer; run again to ask them again. */
  readonly failures: readonly ChatFailure[];
  /** Tokens that were paid for now; what was kept from before cost nothing. */
  readonly spent: { readonly requests: number; readonly promptTokens: number; readonly completionTokens: number };
}

export interface JudgeOptions {
  /** Folder of the judge's answers: `references.jsonl` and `comparisons.jsonl`, known by judge and prompt. */
  readonly cache: string;
  readonly signal?: AbortSignal | undefined;
  readonly onAnswer?: (() => void) | undefined;
}

/** Requests that a judgement of n responses takes. */
export const numJudgeRequests = (numResponses: number): number => 3 * numResponses;

/**
 * Scores responses with a judge. Each is compared with the judge's own answer twice, once as Assistant 1 and once as Assistant 2.
 * Errors: those of the responder that concern every request.
 */
export async function judgeResponses(
  judge: Responder,
  rows: readonly ResponseToJudge[],
  { cache, signal, onAnswer }: JudgeOptions,
): Promise<JudgeResult> {
  const spent = { requests: 0, promptTokens: 0, completionTokens: 0 };
  const ask = async (requests: readonly ChatRequest[], file: string) => {
    const asked = await askAll(judge, requests, {
      path: join(cache, file),
      signal,
      onAnswer({ promptTokens, completionTokens }) {
        spent.requests += 1;
        spent.promptTokens += promptTokens;
        spent.completionTokens += completionTokens;
        onAnswer?.();
      },
    });
    for (let kept = 0; kept < asked.numKept; kept++) onAnswer?.();
    return asked;
  };
  const references = await ask(
    rows.map(({ id, question }) => ({ id, messages: referenceMessages(question) })),
    'references.jsonl',
  );
  const answered = rows.filter(({ id }) => references.answers.has(id));
  const comparisons = await ask(
    answered.flatMap(({ id, question, response }) => {
      const reference = references.answers.get(id)!.text;
      return [
        { id: `${id}/1`, messages: comparisonMessages(question, response, reference) },
        { id: `${id}/2`, messages: comparisonMessages(question, reference, response) },
      ];
    }),
    'comparisons.jsonl',
  );
  const scoreOf = (id: string): number | null => {
    const [first, second] = [1, 2].map((order) => parseScores(comparisons.answers.get(`${id}/${order}`)?.text ?? ''));
    if (first === undefined || second === undefined) return null;
    return (relativeScore(first[0], first[1]) + relativeScore(second[1], second[0])) / 2;
  };
  const responses = rows.map(({ id, response }) => ({
    id,
    score: scoreOf(id),
    length: response.length,
    referenceLength: references.answers.get(id)?.text.length ?? 0,
  }));
  const failures = [...references.failures, ...comparisons.failures];
  const unanswered = new Set(failures.map(({ id }) => id));
  const isAnswered = ({ id }: { id: string }) => [id, `${id}/1`, `${id}/2`].every((each) => !unanswered.has(each));
  const given = [...references.answers.values(), ...comparisons.answers.values()];
  return {
    ...summarizeScores(responses.filter(isAnswered)),
    numUnanswered: responses.filter((response) => !isAnswered(response)).length,
    models: [...new Set(given.flatMap(({ model }) => model ?? []))].sort(),
    judge: judge.identity,
    promptsVersion: JUDGE_PROMPTS_VERSION,
    responses,
    failures,
    spent,
  };
}
