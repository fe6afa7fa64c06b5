/** The wire of OpenAI-compatible chat completions: one request, tried again while there is hope. */
import { setTimeout as sleepFor } from 'node:timers/promises';
import { z } from 'zod';
import { AzeotropeError, ConfigError, DataError, messageOf } from '../../support/errors.js';
import type { ChatAnswer, ChatRequest } from './responder.js';

/** Waits; ends early, with an error, where the signal is aborted. */
type Sleep = (durationMs: number, signal?: AbortSignal) => Promise<void>;

export interface ChatClientOptions {
  /** Base of the interface, such as `https://host/v1`. */
  readonly url: string;
  readonly model: string;
  /** Sent as a bearer token; appears in no message. */
  readonly apiKey?: string | undefined;
  readonly temperature: number;
  readonly maxTokens: number;
  readonly seed?: number | undefined;
  /** Tries of a request in all; default 8, with about two minutes between the first and the last. */
  readonly maxAttempts?: number | undefined;
  readonly timeoutMs?: number | undefined;
  readonly requestsPerMinute?: number | undefined;
  /** Notices of retries, one sentence each. */
  readonly log?: ((message: string) => void) | undefined;
  /** For tests. */
  readonly fetch?: typeof fetch | undefined;
  readonly sleep?: Sleep | undefined;
}

const DEFAULT_ATTEMPTS = 8;
const DEFAULT_TIMEOUT_MS = 120_000;
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 60_000;
const MINUTE_MS = 60_000;
/** Of a server's words, the part that is told. */
const QUOTED_LENGTH = 200;

const responseSchema = z.object({
  model: z.string().nullable().optional(),
  choices: z
    .array(
      z.object({
        message: z.object({ content: z.string().nullable() }),
        finish_reason: z.string().nullable().optional(),
      }),
    )
    .min(1),
  usage: z
    .object({ prompt_tokens: z.number().optional(), completion_tokens: z.number().optional() })
    .nullable()
    .optional(),
});

/** A failure that another try may mend; `waitMs` is what the server asked for. */
class RetryError extends Error {
  constructor(
    message: string,
    readonly waitMs?: number,
  ) {
    super(message);
  }
}

export interface ChatClient {
  /**
   * One answer. Timeouts, broken connections, statuses 408, 409, 425, 429 and 5xx, and answers that are cut off or malformed are
   * tried again with growing waits. Errors: DataError naming the request when the tries are used up; ConfigError for statuses
   * that no other try will change, and for a key the server does not take.
   */
  complete(request: ChatRequest, signal?: AbortSignal): Promise<ChatAnswer>;
}

export function createChatClient(options: ChatClientOptions): ChatClient {
  const { maxAttempts = DEFAULT_ATTEMPTS, log } = options;
  const sleep: Sleep = options.sleep ?? ((durationMs, signal) => sleepFor(durationMs, undefined, { signal }));
  const waitForTurn = createRateLimit(options.requestsPerMinute, sleep);
  const redact = (text: string) => (options.apiKey ? text.replaceAll(options.apiKey, '***') : text);
  return {
    async complete(request, signal) {
      for (let attempt = 1; ; attempt++) {
        signal?.throwIfAborted();
        await waitForTurn(signal);
        try {
          return await requestOnce(options, request, signal);
        } catch (error) {
          signal?.throwIfAborted();
          if (error instanceof AzeotropeError) throw new ConfigError(redact(error.message));
          const message = redact(messageOf(error));
          if (!(error instanceof RetryError) || attempt >= maxAttempts)
            throw new DataError(
              `${options.url}, prompt '${request.id}': ${message} (try ${attempt} of ${maxAttempts}).`,
            );
          const waitMs = Math.min(LONGEST_WAIT_MS, error.waitMs ?? FIRST_WAIT_MS * 2 ** (attempt - 1));
          log?.(`${options.url}, prompt '${request.id}': ${message}; again in ${(waitMs / 1000).toFixed(1)} s.`);
          await sleep(waitMs, signal);
        }
      }
    },
  };
}

async function requestOnce(
  options: ChatClientOptions,
  { id, messages }: ChatRequest,
  signal: AbortSignal | undefined,
): Promise<ChatAnswer> {
  const { url, model, apiKey, temperature, maxTokens, seed, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  const timeout = AbortSignal.timeout(timeoutMs);
  let response: Response;
  let text: string;
  try {
    response = await (options.fetch ?? fetch)(`${url.replace(/\/+$/, '')}/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(apiKey && { authorization: `Bearer ${apiKey}` }) },
      body: JSON.stringify({
        model,
        messages,
        temperature,
        max_tokens: maxTokens,
        ...(seed !== undefined && { seed }),
      }),
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    });
    text = await response.text();
  } catch (error) {
    throw new RetryError(
      timeout.aborted ? `no answer within ${timeoutMs / 1000} s` : `the connection failed (${causeOf(error)})`,
    );
  }
  if (!response.ok) throw statusError(response, text, options);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new RetryError(`the answer is cut off or no JSON: ${quoted(text)}`);
  }
  const checked = responseSchema.safeParse(parsed);
  if (!checked.success) throw new RetryError(`the answer has no choices[0].message.content: ${quoted(text)}`);
  const [{ message, finish_reason: finish }] = checked.data.choices;
  const { usage, model: servedModel } = checked.data;
  return {
    id,
    text: message.content ?? '',
    finish: finish === 'length' ? 'length' : 'stop',
    promptTokens: usage?.prompt_tokens ?? 0,
    completionTokens: usage?.completion_tokens ?? 0,
    ...(servedModel && { model: servedModel }),
  };
}

function statusError(response: Response, text: string, { url, model }: ChatClientOptions): Error {
  const { status } = response;
  const said = `status ${status}: ${quoted(text)}`;
  if (status === 429 || status === 408 || status === 409 || status === 425 || status >= 500)
    return new RetryError(said, retryAfterMs(response.headers.get('retry-after')));
  if (status === 401 || status === 403)
    return new ConfigError(`${url} refuses the key (${said}). Set AZEOTROPE_API_KEY to one it takes.`);
  return new ConfigError(`${url}, model '${model}': ${said}. Check the address, the name of the model and maxTokens.`);
}

/** Seconds, or a date; undefined where the server asks for nothing. */
function retryAfterMs(value: string | null): number | undefined {
  if (value === null) return undefined;
  const seconds = Number(value);
  const waitMs = Number.isNaN(seconds) ? Date.parse(value) - Date.now() : seconds * 1000;
  return Number.isNaN(waitMs) ? undefined : Math.max(0, waitMs);
}

/** Lets a request pass as soon as it may. */
function createRateLimit(requestsPerMinute: number | undefined, sleep: Sleep) {
  let nextMs = 0;
  return async (signal?: AbortSignal): Promise<void> => {
    if (requestsPerMinute === undefined) return;
    const nowMs = performance.now();
    const turnMs = Math.max(nowMs, nextMs);
    nextMs = turnMs + MINUTE_MS / requestsPerMinute;
    if (turnMs > nowMs) await sleep(turnMs - nowMs, signal);
  };
}

const quoted = (text: string): string => JSON.stringify(text.slice(0, QUOTED_LENGTH));

/** What fetch hides behind "fetch failed". */
const causeOf = (error: unknown): string =>
  error instanceof Error && error.cause !== undefined ? messageOf(error.cause) : messageOf(error);
