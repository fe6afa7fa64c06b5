/** Compiled graphs, kept. */
import { ConfigError } from '../../support/errors.js';
import type { CompiledModel, Runtime, Session, SessionOptions } from './types.js';

/**
 * The sessions used last. Compiling takes 50–500 ms for a model's graph, so callers round shapes up to few buckets and come here
 * for the session of a bucket.
 *
 * A session that falls out is disposed of, which leaves its bindings working: fetch the session anew for the next `bind`, never
 * keep it.
 */
export class SessionCache {
  readonly #runtime: Pick<Runtime, 'session'>;
  readonly #capacity: number;
  /** Least recently used first. */
  readonly #sessions = new Map<string, Session>();

  /** `capacity`: most sessions kept, at least 1 (ConfigError). */
  constructor(runtime: Pick<Runtime, 'session'>, capacity: number) {
    if (!Number.isInteger(capacity) || capacity < 1) {
      throw new ConfigError(
        `A session cache of capacity ${capacity} cannot be: expected a whole number of at least 1.`,
      );
    }
    this.#runtime = runtime;
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** The session under `key` (say, graph hash and shape bucket); compiles what `model` returns, with `options`, if there is none. */
  get(key: string, model: () => CompiledModel, options?: SessionOptions): Session {
    const kept = this.#sessions.get(key);
    const session = kept ?? this.#runtime.session(model(), options);
    this.#sessions.delete(key);
    this.#sessions.set(key, session);
    if (this.#sessions.size > this.#capacity) {
      const [oldest, evicted] = this.#sessions.entries().next().value as [string, Session];
      this.#sessions.delete(oldest);
      evicted.dispose();
    }
    return session;
  }

  /** Disposes of every session; the cache can be used again. */
  dispose(): void {
    for (const session of this.#sessions.values()) session.dispose();
    this.#sessions.clear();
  }
}
