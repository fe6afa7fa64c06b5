/** Worker processes as seen by the run that starts them. */
import { type ChildProcess, fork } from 'node:child_process';
import { AzeotropeError, BackendError } from '../support/errors.js';
import type { AnyStage } from './stage.js';
import type { Order, WorkerReport } from './worker-messages.js';

export interface Worker {
  readonly pid: number;
  /** Resolves when it can take stages. */
  readonly ready: Promise<{ engineVersion: string; engineKind: string }>;
  /**
   * Resolves when the stage is in its place; false where it was stopped. Errors: AzeotropeError where data or configuration are at
   * fault; BackendError where the process died; Error for a bug.
   */
  run(
    stage: AnyStage,
    callbacks: { onProgress: (doneFraction: number) => void; onLog: (message: string) => void },
  ): Promise<boolean>;
  stop(): void;
  /** Ends the process. */
  dispose(): void;
}

const STDERR_KEPT = 4000;

export function startWorker(start: Omit<Extract<Order, { type: 'start' }>, 'type'>): Worker {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const child = fork(new URL(`./worker-main.${extension}`, import.meta.url), [], {
    // Flags of a test runner are not for it.
    execArgv: process.execArgv.filter((flag) => !flag.startsWith('--test')),
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_KEPT);
  });
  let isDisposed = false;
  let isStarting = true;
  let listener: ((report: WorkerReport) => void) | undefined;
  let reject: ((error: Error) => void) | undefined;
  child.on('message', (report: WorkerReport) => listener?.(report));
  child.on('error', (error) => reject?.(error));
  // `close` comes when its output has been read to the end as well.
  child.on('close', (code, signal) => {
    if (!isDisposed) reject?.(death(child, { code, signal, isStarting, stderr }));
  });
  const send = (order: Order): void => {
    // A process that has just died is told of by `close`.
    if (child.connected) child.send(order, () => undefined);
  };
  const waitFor = <T>(answer: (report: WorkerReport, resolve: (value: T) => void) => void): Promise<T> =>
    new Promise<T>((resolve, onError) => {
      if (child.exitCode !== null || child.signalCode !== null) {
        onError(death(child, { code: child.exitCode, signal: child.signalCode, isStarting, stderr }));
        return;
      }
      reject = onError;
      listener = (report) => {
        if (report.type === 'failed') onError(failure(report));
        else answer(report, resolve);
      };
    });

  const ready = waitFor<{ engineVersion: string; engineKind: string }>((report, resolve) => {
    if (report.type === 'ready') resolve(report);
  });
  ready.catch(() => undefined); // told to whoever awaits it
  send({ type: 'start', ...start });
  return {
    pid: child.pid ?? -1,
    ready,
    run(stage, { onProgress, onLog }) {
      isStarting = false;
      const done = waitFor<boolean>((report, resolve) => {
        if (report.type === 'progress') onProgress(report.doneFraction);
        else if (report.type === 'log') onLog(report.message);
        else if (report.type === 'done' || report.type === 'stopped') resolve(report.type === 'done');
      });
      send({ type: 'stage', stage });
      return done;
    },
    stop: () => send({ type: 'stop' }),
    dispose() {
      isDisposed = true;
      child.kill('SIGKILL');
    },
  };
}

function failure({ message, stack, isUserError }: Extract<WorkerReport, { type: 'failed' }>): Error {
  if (isUserError) return new AzeotropeError(message);
  const error = new Error(message);
  error.stack = stack;
  return error;
}

function death(
  child: ChildProcess,
  about: { code: number | null; signal: string | null; isStarting: boolean; stderr: string },
): Error {
  const { code, signal, isStarting, stderr } = about;
  const how = signal === null ? `with exit code ${code}` : `by ${signal}`;
  const last = stderr.trim() === '' ? '' : `\nIts last words: ${stderr.trim()}`;
  return new BackendError(
    `The process ${child.pid}${isStarting ? ', which was starting,' : ' that worked on this'} was ended ${how}${signal === 'SIGKILL' ? ', perhaps for want of memory (try --workers 1)' : ''}. What is done is kept: run the same command again to go on.${last}`,
  );
}
