/** Runs the stages of a plan in worker processes, independent ones side by side. */
import { AzeotropeError, invariant } from '../support/errors.js';
import type { AnyStage } from './stage.js';
import { dependenciesOf } from './stage.js';
import type { Worker } from './worker-pool.js';

export interface ExecuteOptions {
  readonly isDone: (id: string) => boolean;
  /** How long each takes, about, by id. */
  readonly seconds: ReadonlyMap<string, number>;
  /** Called as often as workers are needed, up to `numWorkers`. */
  readonly startWorker: () => Worker;
  readonly numWorkers: number;
  readonly signal: AbortSignal;
  readonly onStarted?: (worker: Worker) => Promise<void>;
  readonly onBegin?: (stage: AnyStage) => void;
  readonly onProgress?: (stage: AnyStage, doneFraction: number) => void;
  /** Awaited before the worker gets its next stage. */
  readonly onDone?: (stage: AnyStage) => Promise<void>;
  readonly log?: (message: string) => void;
}

/**
 * Runs what is not done. The first failure, or the signal, lets the other stages stop at their next whole step. Errors: that of the
 * stage, naming it; the signal's reason.
 */
export async function executeStages(stages: readonly AnyStage[], options: ExecuteOptions): Promise<void> {
  const { isDone, numWorkers, seconds, signal } = options;
  const done = new Set(stages.filter(({ id }) => isDone(id)).map(({ id }) => id));
  const waiting = stages.filter(({ id }) => !done.has(id));
  const chainSeconds = chainsOf(waiting, seconds);
  const running = new Set<AnyStage>();
  const workers: Worker[] = [];
  const stop = new AbortController();
  const isStopping = () => stop.signal.aborted || signal.aborted;
  let failure: unknown;

  /**
   * The stage to begin now: the first of the plan that can, or one that so much waits for that the end of the run depends on it. What
   * is timed against the clock runs alone.
   */
  const takeNext = (): AnyStage | undefined => {
    if ([...running].some(runsAlone)) return undefined;
    const ready = waiting.filter(
      (stage) => dependenciesOf(stage).every((id) => done.has(id)) && !(runsAlone(stage) && running.size > 0),
    );
    if (ready.length === 0) return undefined;
    const fairShare = waiting.reduce((sum, { id }) => sum + seconds.get(id)!, 0) / numWorkers;
    const isCritical = (stage: AnyStage) => chainSeconds.get(stage.id)! > CRITICAL_SHARE * fairShare;
    const next = ready.find((stage) => !runsAlone(stage) && isCritical(stage)) ?? ready[0];
    waiting.splice(waiting.indexOf(next), 1);
    return next;
  };

  const work = async (worker: Worker): Promise<void> => {
    await options.onStarted?.(worker);
    await worker.ready;
    while (!isStopping()) {
      const stage = takeNext();
      if (stage === undefined) {
        if (waiting.length === 0) return;
        invariant(running.size > 0, `no stage can begin: ${waiting[0].id} waits for what is not planned`);
        await changed();
        continue;
      }
      running.add(stage);
      options.onBegin?.(stage);
      const isFinished = await worker
        .run(stage, {
          onProgress: (doneFraction) => options.onProgress?.(stage, doneFraction),
          onLog: (message) => options.log?.(`${stage.label}: ${message}`),
        })
        .catch((error: unknown) => {
          throw error instanceof AzeotropeError ? new AzeotropeError(`${stage.label}: ${error.message}`) : error;
        });
      running.delete(stage);
      if (!isFinished) return;
      done.add(stage.id);
      await options.onDone?.(stage);
      wakeAll();
    }
  };

  /** Workers without a stage wait here for another to finish one. */
  const sleepers: (() => void)[] = [];
  const changed = () => new Promise<void>((resolve) => void sleepers.push(resolve));
  const wakeAll = () => {
    for (const resolve of sleepers.splice(0)) resolve();
  };
  const stopAll = () => {
    stop.abort();
    for (const worker of workers) worker.stop();
    wakeAll();
  };
  signal.addEventListener('abort', stopAll);
  try {
    signal.throwIfAborted();
    const numNeeded = Math.min(numWorkers, waiting.length);
    const tasks = Array.from({ length: numNeeded }, async () => {
      try {
        const worker = options.startWorker();
        workers.push(worker);
        await work(worker);
      } catch (error) {
        failure ??= error;
        stopAll();
      }
    });
    await Promise.all(tasks);
    signal.throwIfAborted();
    if (failure !== undefined) throw failure;
  } finally {
    signal.removeEventListener('abort', stopAll);
    for (const worker of workers) worker.dispose();
  }
}

const runsAlone = (stage: AnyStage): boolean => stage.kind === 'cost';

/** Share of a worker's part of what is left at which a chain of stages must begin at once. */
const CRITICAL_SHARE = 0.5;

/** By stage: the time of the longest chain of stages that begins with it. */
function chainsOf(stages: readonly AnyStage[], seconds: ReadonlyMap<string, number>): Map<string, number> {
  const followers = new Map<string, AnyStage[]>();
  for (const stage of stages) {
    for (const id of dependenciesOf(stage)) followers.set(id, [...(followers.get(id) ?? []), stage]);
  }
  const chains = new Map<string, number>();
  const chainOf = (stage: AnyStage): number => {
    const known = chains.get(stage.id);
    if (known !== undefined) return known;
    const chain = seconds.get(stage.id)! + Math.max(0, ...(followers.get(stage.id) ?? []).map(chainOf));
    chains.set(stage.id, chain);
    return chain;
  };
  for (const stage of stages) chainOf(stage);
  return chains;
}
