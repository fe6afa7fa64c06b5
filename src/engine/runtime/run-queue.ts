/** One run at a time, in call order. */
import { BackendError, messageOf } from '../../support/errors.js';

/** Begins a run and calls `done` once, later, with the error if there was one. */
export type StartRun = (done: (error?: Error) => void) => void;

interface Job {
  readonly start: StartRun;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  /** What waits for this run to be over. */
  readonly afterwards: (() => void)[];
}

/** The order of the runs of one runtime. */
export class RunQueue {
  /** The first one is running. */
  readonly #jobs: Job[] = [];

  /** Runs when everything before it is over. */
  enqueue(start: StartRun): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#jobs.push({ start, resolve, reject, afterwards: [] });
      if (this.#jobs.length === 1) this.#startFirst();
    });
  }

  /** Throws BackendError while runs are pending: a blocking run would overtake them. */
  assertIdle(): void {
    if (this.#jobs.length === 0) return;
    throw new BackendError(
      `runSync() was called while ${this.#jobs.length} run() are pending: await them first, or use run().`,
    );
  }

  /** Calls `action` once the runs that are pending now are over; at once if there are none. */
  afterPending(action: () => void): void {
    const last = this.#jobs.at(-1);
    if (last === undefined) action();
    else last.afterwards.push(action);
  }

  #startFirst(): void {
    const job = this.#jobs[0];
    const done = (error?: Error): void => {
      for (const action of job.afterwards) action();
      this.#jobs.shift();
      if (error === undefined) job.resolve();
      else job.reject(error);
      if (this.#jobs.length > 0) this.#startFirst();
    };
    try {
      job.start(done);
    } catch (error) {
      done(new BackendError(`A run could not be started: ${messageOf(error)}`));
    }
  }
}
