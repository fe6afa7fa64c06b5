/** A process that computes stages, one after another, for the run that started it. */
import { createCompiler } from '../engine/compiler.js';
import { openRuntime } from '../engine/runtime/open.js';
import { openModel } from '../jobs/open-model.js';
import { AzeotropeError, invariant, messageOf } from '../support/errors.js';
import { meterRuntime } from './metered-runtime.js';
import { createModelCache } from './model-cache.js';
import { openTask } from './open-task.js';
import type { AnyStage, ModelRef } from './stage.js';
import type { StageContext } from './stages/context.js';
import { builtModelFolder } from './stages/model.js';
import { runStage } from './stages/run-stage.js';
import { beginStage, readRecord, stageFolder } from './store.js';
import type { Order, WorkerReport } from './worker-messages.js';

const PROGRESS_INTERVAL_MS = 200;

/** Answers orders until the run that sends them is gone. */
export function serveStages(): void {
  const report = (message: WorkerReport): void => void process.send?.(message);
  const fail = (error: unknown): void => {
    const isUserError = error instanceof AzeotropeError;
    const stack = error instanceof Error ? (error.stack ?? '') : '';
    report({ type: 'failed', message: messageOf(error), stack, isUserError });
  };
  let work: Promise<ReturnType<typeof createWork>> | undefined;
  let stop = new AbortController();
  process.on('message', (order: Order) => {
    if (order.type === 'stop') stop.abort();
    else if (order.type === 'start') {
      work = openTask(order.task).then((task) => createWork(order, task));
      work.then(({ engine }) => report({ type: 'ready', ...engine }), fail);
    } else {
      invariant(work !== undefined, 'a stage was ordered before the start');
      stop = new AbortController();
      const { signal } = stop;
      work
        .then((opened) => opened.run(order.stage, { signal, report }))
        .then(
          () => report({ type: 'done', id: order.stage.id }),
          (error) => (signal.aborted ? report({ type: 'stopped' }) : fail(error)),
        );
    }
  });
  // Ctrl-C reaches every process of the terminal: the run that was asked says when to stop.
  process.on('SIGINT', () => undefined);
  process.on('disconnect', () => process.exit(1));
}

function createWork(
  { run, threads, precision, keptBytes }: Extract<Order, { type: 'start' }>,
  task: StageContext['task'],
) {
  const { runtime, engineMs } = meterRuntime(openRuntime({ threads }));
  const compiler = createCompiler(runtime, { precision });
  const cache = createModelCache(compiler);
  const locationOf = (ref: ModelRef) => ('stage' in ref ? builtModelFolder(stageFolder(run, ref.stage)) : ref.location);
  return {
    engine: { engineVersion: runtime.version, engineKind: `${runtime.kind}, kernels: ${runtime.kernels.level}` },
    async run(
      stage: AnyStage,
      { signal, report }: { signal: AbortSignal; report: (message: WorkerReport) => void },
    ): Promise<void> {
      const startMs = performance.now();
      const engineStartMs = engineMs();
      const unfinished = await beginStage(run, stage);
      let toldMs = 0;
      const result = await runStage(stage, {
        task,
        compiler,
        folder: unfinished.folder,
        scratch: unfinished.scratch,
        folderOf: (id) => stageFolder(run, id),
        resultOf<K extends AnyStage['kind']>(id: string) {
          const record = readRecord<K>(run, id);
          invariant(record !== undefined, `${stage.id} needs ${id}, which is not done`);
          return record.result;
        },
        locationOf,
        open: (ref) => cache.open(locationOf(ref), signal),
        openOwn: (ref, options = {}) => openModel(locationOf(ref), { compiler, signal, ...options }),
        signal,
        onProgress(doneFraction) {
          if (performance.now() - toldMs < PROGRESS_INTERVAL_MS) return;
          toldMs = performance.now();
          report({ type: 'progress', doneFraction });
        },
        log: (message) => report({ type: 'log', message }),
      });
      const { id, kind, label, inputs, models, needs, precision } = stage;
      const wallMs = performance.now() - startMs;
      await unfinished.finish({
        ...{ id, kind, label, inputs, models, needs, precision, result },
        ...{ wallMs, engineMs: engineMs() - engineStartMs },
      });
      cache.trim(keptBytes);
    },
  };
}
