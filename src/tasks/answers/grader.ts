/** Grading with a time limit: the comparison runs in a worker thread, which is ended and replaced where it takes too long. */
import { Worker } from 'node:worker_threads';
import { invariant } from '../../support/errors.js';
import type { Judgement } from './judge.js';

/** `timeout`: no verdict within the limit. `error`: the comparison failed. Neither is equal. */
export interface Verdict {
  readonly equal: boolean;
  readonly rule: Judgement['rule'] | 'timeout' | 'error';
  /** What was taken for the answer; empty where there was no verdict. */
  readonly answer: string;
  readonly durationMs: number;
}

export interface Grader {
  /** Compares a text with the expected answer. Calls are worked off one after another. */
  equal(expected: string, actual: string): Promise<Verdict>;
  /** Ends the thread; what waits is answered with `error`. */
  dispose(): void;
}

export interface GraderOptions {
  /** Longest time one comparison may take, in milliseconds; the time of starting a thread is not counted. Default 1000. */
  readonly timeLimitMs?: number;
}

/** What the worker answers. */
export type WorkerReply = { readonly judgement: Judgement } | { readonly failure: string } | { readonly isReady: true };

interface Task {
  readonly expected: string;
  readonly actual: string;
  readonly resolve: (verdict: Verdict) => void;
  readonly reject: (error: unknown) => void;
}

/** Starts the thread. Where the sources are run by tsx, whose hooks stop at the main thread, it registers them first. */
function startWorker(): Worker {
  if (!import.meta.url.endsWith('.ts')) return new Worker(new URL('./grader-worker.js', import.meta.url));
  const { href } = new URL('./grader-worker.ts', import.meta.url);
  const code = `import('tsx/esm/api').then(({ register }) => { register(); return import(${JSON.stringify(href)}); })`;
  return new Worker(code, { eval: true });
}

export function createGrader({ timeLimitMs = 1000 }: GraderOptions = {}): Grader {
  const waiting: Task[] = [];
  let current: { task: Task; startMs: number; timer: NodeJS.Timeout } | undefined;
  let worker: Worker | undefined;
  let isReady = false;
  let isDisposed = false;

  function start(): void {
    const started = startWorker();
    worker = started;
    isReady = false;
    started.on('message', (reply: WorkerReply) => {
      if (worker !== started) return; // a reply that crossed with the end of its thread
      if ('isReady' in reply) {
        isReady = true;
        started.unref(); // an idle thread keeps no program alive
        next();
      } else if ('judgement' in reply) finish({ ...reply.judgement });
      else finish({ equal: false, rule: 'error', answer: '' });
    });
    started.on('error', (error) => {
      if (worker !== started) return;
      if (isReady) replace({ equal: false, rule: 'error', answer: '' });
      else for (const task of waiting.splice(0)) task.reject(error); // it could not start: a bug, and no verdict
    });
  }

  function next(): void {
    if (current !== undefined || isDisposed) return;
    if (waiting.length === 0) return;
    if (worker === undefined) start();
    if (!isReady) return;
    const task = waiting.shift()!;
    const timer = setTimeout(() => replace({ equal: false, rule: 'timeout', answer: '' }), timeLimitMs);
    current = { task, startMs: performance.now(), timer };
    worker!.ref();
    worker!.postMessage({ expected: task.expected, actual: task.actual });
  }

  function finish(verdict: Omit<Verdict, 'durationMs'>): void {
    invariant(current !== undefined, 'a verdict without a task');
    const { task, startMs, timer } = current;
    clearTimeout(timer);
    current = undefined;
    worker?.unref();
    task.resolve({ ...verdict, durationMs: performance.now() - startMs });
    next();
  }

  /** Ends the thread and answers its task, if any; the next task gets a new thread. */
  function replace(verdict: Omit<Verdict, 'durationMs'>): void {
    void worker?.terminate();
    worker = undefined;
    isReady = false;
    finish(verdict);
  }

  return {
    equal(expected, actual) {
      invariant(!isDisposed, 'a grader was used after dispose()');
      return new Promise((resolve, reject) => {
        waiting.push({ expected, actual, resolve, reject });
        next();
      });
    },
    dispose() {
      isDisposed = true;
      void worker?.terminate();
      worker = undefined;
      const verdict = { equal: false, rule: 'error', answer: '', durationMs: 0 } as const;
      if (current !== undefined) {
        clearTimeout(current.timer);
        current.task.resolve(verdict);
        current = undefined;
      }
      for (const task of waiting.splice(0)) task.resolve(verdict);
    },
  };
}
