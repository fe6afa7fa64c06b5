/** A teacher behind an endpoint. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { askAll } from '../../inference/endpoint/ask-all.js';
import type { ChatAnswer, ChatRequest } from '../../inference/endpoint/responder.js';
import { API_KEY_VARIABLE, createEndpointResponder } from '../../inference/endpoint/responders.js';
import { ConfigError, DataError } from '../../support/errors.js';
import { sha256OfJson } from '../../support/hash.js';
import type { Question } from '../task.js';
import type { Spend } from './records.js';
import { describeSpend } from './spend.js';
import type { TraceContext, TraceSource } from './traces.js';

/** Most failures that are told one by one. */
const TOLD_FAILURES = 5;

/**
 * Answers row by row, none paid for twice. Errors: DataError naming the first question that got none, where such are not to be skipped;
 * run again to ask it. ConfigError for what no other try would change.
 */
export function remoteTraces({ task, config, folder, signal, log, onProgress }: TraceContext): TraceSource {
  const { url, model, temperature, price, onFailure, requestsPerMinute, concurrency, seed } = config.teacher;
  if (url === undefined || model === undefined)
    throw new ConfigError('teacher.url needs teacher.model (--teacher-model), the name of a model there.');
  const maxTokens = config.sampling.maxTokens ?? task.maxTokens;
  const responder = createEndpointResponder({
    ...{ url, model, temperature, maxTokens, seed, requestsPerMinute, concurrency, log },
    apiKey: process.env[API_KEY_VARIABLE],
    // To be told what is wrong after one question's tries, not after those of all.
    maxFailures: onFailure === 'stop' ? 1 : undefined,
  });
  const paid = new Map<string, ChatAnswer>();
  let numSkipped = 0;
  const spend = (): Spend => ({ ...countTokens([...paid.values()]), price: price ?? null, numSkipped });
  return {
    identity: sha256OfJson([responder.identity, task.identity, config.inDistribution ?? null]),
    async responses(questions) {
      await mkdir(join(folder, 'traces'), { recursive: true });
      const now: ChatAnswer[] = [];
      let numDone = 0;
      const { answers, failures, numKept } = await askAll(responder, questions.map(requestOf), {
        path: join(folder, 'traces', 'endpoint.jsonl'),
        signal,
        onKept(numKept) {
          numDone = numKept;
        },
        onAnswer(answer) {
          now.push(answer);
          numDone += 1;
          onProgress(numDone, questions.length, describeSpend({ ...countTokens(now), price: price ?? null }));
        },
      });
      signal.throwIfAborted();
      for (const [id, answer] of answers) paid.set(id, answer);
      if (now.length > 0) log(`Asked now: ${describeSpend({ ...countTokens(now), price: price ?? null })}.`);
      if (numKept > 0) log(`${numKept} answers were kept from before and cost nothing now.`);
      numSkipped = failures.length;
      for (const { message } of failures.slice(0, TOLD_FAILURES)) log(message);
      if (failures.length > 0 && (onFailure === 'stop' || answers.size === 0))
        throw new DataError(
          `${questions.length - answers.size} of ${questions.length} questions have no answer: ${failures[0].message} What was answered is kept: run the same command again, or learn without them (--set teacher.onFailure=skip).`,
        );
      if (failures.length > 0)
        log(`Goes on without ${failures.map(({ id }) => id).join(', ')} (teacher.onFailure is skip).`);
      return questions.flatMap(({ id }) => {
        const answer = answers.get(id);
        return answer === undefined ? [] : [{ id, text: answer.text, finish: answer.finish }];
      });
    },
    known: async () => new Map(),
    spend,
  };
}

const requestOf = ({ id, row }: Question): ChatRequest => ({
  id,
  messages: row.messages ?? [{ role: 'user' as const, content: row.prompt }],
});

function countTokens(answers: readonly ChatAnswer[]) {
  return {
    numAnswers: answers.length,
    promptTokens: answers.reduce((sum, { promptTokens }) => sum + promptTokens, 0),
    responseTokens: answers.reduce((sum, { completionTokens }) => sum + completionTokens, 0),
  };
}
