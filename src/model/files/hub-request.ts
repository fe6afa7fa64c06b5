import { setTimeout as sleep } from 'node:timers/promises';
import { ModelLoadError, messageOf } from '../../support/errors.js';
import { type HubSettings, withoutToken } from './hub-settings.js';

/** How often and how patiently a request is repeated where the network or the server fails. */
export interface RetryOptions {
  /** Attempts in all, default 5. */
  readonly maxAttempts?: number;
  /** Wait before the second attempt, doubled each time; default 500. */
  readonly retryDelayMs?: number;
  readonly signal?: AbortSignal;
}

/** The server could not be reached, or broke off: worth another attempt, or the cache. */
export class NetworkError extends ModelLoadError {
  override name = 'NetworkError';
}

const TRANSIENT = new Set([408, 429, 500, 502, 503, 504]);

/**
 * Runs `attempt` until it succeeds, is refused for good or `maxAttempts` are used up. Only `NetworkError` is tried again.
 * An attempt that reports progress gives the next ones the full number of attempts.
 */
export async function withRetries<T>(attempt: (progress: () => void) => Promise<T>, options: RetryOptions): Promise<T> {
  const { maxAttempts = 5, retryDelayMs = 500, signal } = options;
  let failures = 0;
  for (;;) {
    try {
      return await attempt(() => {
        failures = 0;
      });
    } catch (error) {
      failures++;
      if (!(error instanceof NetworkError) || failures >= maxAttempts || signal?.aborted) throw error;
      await sleep(retryDelayMs * 2 ** (failures - 1));
    }
  }
}

/**
 * One GET request. The token goes to the hub itself only; `fetch` drops it where a redirect leads to another host.
 * @throws NetworkError where the server is not reached or fails for the moment; ModelLoadError with advice for 401, 403, 404
 */
export async function request(
  url: string,
  settings: HubSettings,
  options: { what: string; headers?: Record<string, string>; signal?: AbortSignal | undefined },
): Promise<Response> {
  const { what, headers = {}, signal } = options;
  const address = new URL(url);
  const isHub = address.origin === new URL(settings.endpoint).origin;
  address.username = '';
  address.password = '';
  const authorization = settings.token && isHub ? { authorization: `Bearer ${settings.token}` } : {};
  let response: Response;
  try {
    response = await fetch(address, { headers: { ...headers, ...authorization }, ...(signal && { signal }) });
  } catch (error) {
    if (signal?.aborted) throw new ModelLoadError(`${what}: stopped. Run the command again: it continues.`);
    throw new NetworkError(
      withoutToken(`${what}: ${address.host} cannot be reached (${causeOf(error)}). Check the network.`, settings),
    );
  }
  if (response.ok || response.status === 416) return response;
  await response.body?.cancel();
  if (TRANSIENT.has(response.status))
    throw new NetworkError(`${what}: ${address.host} answers ${response.status}. Try again later.`);
  throw new ModelLoadError(`${what}: ${refusal(response, settings)}`);
}

function refusal(response: Response, settings: HubSettings): string {
  const code = response.headers.get('x-error-code');
  const login = settings.token ? 'The token in HF_TOKEN has no access to it' : 'No token is set: set HF_TOKEN';
  if (code === 'GatedRepo')
    return `the model is gated (${response.status}). Accept its conditions on its page at ${new URL(settings.endpoint).host}. ${login}.`;
  if (code === 'RevisionNotFound') return 'the hub has no such revision (404). Check what stands after @.';
  if (code === 'EntryNotFound') return 'the hub has no such file (404). Check the name.';
  if (response.status === 401 || response.status === 403)
    return `the hub refuses access (${response.status}): there is no such model, or it is private or gated. Check the name. ${login}.`;
  if (response.status === 404)
    return `the hub has no such model (404). Check the name. ${settings.token ? '' : 'If it is private, set HF_TOKEN.'}`;
  return `the hub answers ${response.status}.`;
}

/** `fetch` hides the reason ("fetch failed") in `cause`. */
export function causeOf(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  return messageOf(cause) || code || 'unknown reason';
}
