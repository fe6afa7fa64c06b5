/** Responders: an endpoint asked by several requests at a time, and a model in memory. */

import type { LanguageModel } from '../../model/language-model.js';
import { AzeotropeError, ConfigError, DataError } from '../../support/errors.js';
import { renderChat } from '../../tokenizer/chat.js';
import type { Tokenizer } from '../../tokenizer/types.js';
import { createGenerator } from '../generator.js';
import { type ChatClientOptions, createChatClient } from './chat-client.js';
import type { ChatFailure, Responder } from './responder.js';

export const API_KEY_VARIABLE = 'AZEOTROPE_API_KEY';

/**
 * A responder over an endpoint. A request whose tries are used up is told as a failure and the others go on; an error that concerns
 * all of them (key, address, model) ends the work.
 */
export function createEndpointResponder(
  options: ChatClientOptions & {
    concurrency?: number | undefined;
    /** Requests that may fail before no further one is asked; default: all. */
    maxFailures?: number | undefined;
  },
): Responder {
  const { url, model, temperature, maxTokens, seed, concurrency = 8, maxFailures = Number.POSITIVE_INFINITY } = options;
  const client = createChatClient(options);
  return {
    identity: { url, model, temperature, maxTokens, seed: seed ?? null },
    async answerAll(requests, { onAnswer, signal }) {
      const failures: ChatFailure[] = [];
      const queue = requests.values();
      let fatal: unknown;
      const work = async (): Promise<void> => {
        for (const request of queue) {
          if (fatal !== undefined || failures.length >= maxFailures) return;
          try {
            onAnswer(await client.complete(request, signal));
          } catch (error) {
            if (error instanceof DataError) failures.push({ id: request.id, message: error.message });
            else fatal = error;
          }
        }
      };
      await Promise.all(Array.from({ length: Math.min(concurrency, requests.length) }, work));
      if (fatal !== undefined) throw fatal;
      return failures;
    },
  };
}

/** A responder over a model with a chat template. Errors: ConfigError where there is none. */
export function createLocalResponder(
  { model, tokenizer, name }: { model: LanguageModel; tokenizer: Tokenizer | undefined; name: string },
  { temperature, maxTokens, seed = 0 }: { temperature: number; maxTokens: number; seed?: number | undefined },
): Responder {
  if (tokenizer?.chatTemplate === undefined)
    throw new ConfigError(`${name} has no chat template: it cannot be asked for judgements.`);
  return {
    identity: { model: name, temperature, maxTokens, seed, precision: model.compiler.precision },
    async answerAll(requests, { onAnswer, signal }) {
      const generator = createGenerator(model, { tokenizer });
      try {
        const encoded = requests.map(({ id, messages }) => ({
          id,
          promptTokens: tokenizer.encode(renderChat(tokenizer, messages, { addGenerationPrompt: true }), {
            addSpecialTokens: false,
          }),
          maxTokens,
          sampler: { temperature },
          seed,
        }));
        const failures: ChatFailure[] = [];
        const fitting = encoded.filter((request) => {
          try {
            generator.check(request);
            return true;
          } catch (error) {
            if (!(error instanceof AzeotropeError)) throw error;
            failures.push({ id: request.id, message: error.message });
            return false;
          }
        });
        await generator.generate(fitting, {
          signal,
          onTrace: ({ id, text, finish, promptTokens, tokens }) =>
            onAnswer({ id, text, finish, promptTokens: promptTokens.length, completionTokens: tokens.length }),
        });
        signal?.throwIfAborted();
        return failures;
      } finally {
        generator.dispose();
      }
    },
  };
}
