/** A trade-off run: plan, stages in worker processes, tables. Stopped at any moment, the same call goes on. */
import { access, constants, mkdir, readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { machinePrecision } from '../jobs/open-model.js';
import { ConfigError } from '../support/errors.js';
import { fileError, writeFileAtomic } from '../support/files.js';
import { availableBytes } from '../training/memory-estimate.js';
import { collectTradeoff, type RecordOf } from './collect.js';
import { RUN_SCHEMA_VERSION, type RunConfig, withPrecision } from './config.js';
import { collectDetails } from './details.js';
import { executeStages } from './execute.js';
import { lockRun } from './lock.js';
import { openTask } from './open-task.js';
import { type Plan, planRun } from './plan.js';
import type { Details, Tradeoff } from './records.js';
import { describeMachine, ownVersions, type RunFile, readRunFile, sourceCommit, writeRunFile } from './run-file.js';
import type { AnyStage, StageKind } from './stage.js';
import { estimateCosts, type StageCosts } from './stage-cost.js';
import { readRecord, type StageRecord } from './store.js';
import { startWorker } from './worker-pool.js';
import { defaultWorkers } from './workers.js';

export interface RunTables {
  readonly tradeoff: Tradeoff;
  readonly details: Details;
}

/** How far a run is. */
export interface RunProgress {
  readonly numDone: number;
  readonly numStages: number;
  /** Of all work, by a rough measure. */
  readonly doneFraction: number;
  /** What was done by earlier calls. */
  readonly initialFraction: number;
  /** Labels of the stages at work. */
  readonly running: readonly string[];
}

export interface TradeoffOptions {
  readonly config: RunConfig;
  readonly isQuick: boolean;
  /** Folder of the run. */
  readonly output: string;
  /** How the run is asked for, without its output folder. */
  readonly command: string;
  readonly signal: AbortSignal;
  readonly log: (message: string) => void;
  readonly onProgress?: (progress: RunProgress) => void;
  /** Told of the tables whenever they change. */
  readonly onTables?: (tables: RunTables) => void;
}

/**
 * Does what a run folder lacks of a run and writes `tradeoff.json` and `details.json`. A folder may be used again with other settings:
 * stages that do not depend on the change are kept. Errors: ConfigError for a folder of something else or of another schema; those of
 * the stages, naming them; the signal's reason.
 */
export async function runTradeoff(options: TradeoffOptions): Promise<RunTables> {
  const { signal, log } = options;
  const config = withPrecision(options.config, machinePrecision);
  const output = resolve(options.output);
  await checkFolder(output);
  const task = await openTask(config.task);
  const lock = await lockRun(output, { signal, onWait: log });
  try {
    const earlier = await readRunFile(output); // another process may have written it meanwhile
    const plan = await planRun(config, task);
    const costs = await estimateCosts(config, task, plan.stages);
    const { numWorkers, threads, keptBytes } = defaultWorkers(config, {
      freeBytes: availableBytes(),
      peakBytes: costs.peakBytes,
    });
    const recordOf = createRecordReader(output);
    const missing = plan.stages.filter(({ kind, id }) => kind === 'model' && recordOf(id) === undefined);
    if (missing.length > 0) log(describeMissing(missing));
    const startMs = performance.now();
    let run: RunFile = {
      schemaVersion: RUN_SCHEMA_VERSION,
      name: config.name,
      isQuick: options.isQuick,
      command: options.command,
      commit: await sourceCommit(),
      versions: { ...earlier?.versions, ...ownVersions() },
      machine: describeMachine(numWorkers * threads),
      startedAt: earlier?.startedAt ?? new Date().toISOString(),
      wallMs: earlier?.wallMs ?? 0,
      config,
    };
    const wallMsBefore = run.wallMs;
    await writeRunFile(output, run);
    const { purpose, count } = config.evaluation;
    const baselines = (await task.baselines?.(purpose, count)) ?? [];
    const writeTables = async (isFinal: boolean): Promise<RunTables> => {
      const collected = collectTradeoff(plan, recordOf, { commit: run.commit, precision: config.precision });
      const tradeoff: Tradeoff = { ...collected, ...(baselines.length > 0 && { baselines }) };
      const details = await collectDetails({ plan, run, task, output, recordOf, isFinal });
      await writeFileAtomic(join(output, 'tradeoff.json'), `${JSON.stringify(tradeoff, null, 2)}\n`);
      await writeFileAtomic(join(output, 'details.json'), `${JSON.stringify(details, null, 2)}\n`);
      const tables = { tradeoff, details };
      options.onTables?.(tables);
      return tables;
    };
    const progress = createProgressMeter(plan, costs, {
      isDone: (id) => recordOf(id) !== undefined,
      tell: options.onProgress,
    });
    const pids: number[] = [];
    await executeStages(plan.stages, {
      isDone: (id) => recordOf(id) !== undefined,
      seconds: costs.seconds,
      numWorkers,
      signal,
      log,
      startWorker: () =>
        startWorker({ task: config.task, run: output, threads, precision: config.precision, keptBytes }),
      async onStarted({ pid, ready }) {
        pids.push(pid);
        await lock.setWorkers(pids);
        const { engineVersion, engineKind } = await ready;
        run = { ...run, versions: { ...run.versions, onnxruntime: engineVersion, engine: engineKind } };
      },
      onBegin: (stage) => progress.begin(stage),
      onProgress: (stage, fraction) => progress.advance(stage, fraction),
      async onDone(stage) {
        progress.end(stage);
        await lock.check();
        run = { ...run, wallMs: Math.round(wallMsBefore + performance.now() - startMs) };
        await writeRunFile(output, run);
        if (MOVES_TABLES.includes(stage.kind)) await writeTables(false);
      },
    });
    return await writeTables(true);
  } finally {
    task.dispose();
    await lock.release();
  }
}

/** Models of the embedded task come from seeds, others from the models that the configuration names. */
function describeMissing(stages: readonly AnyStage[]): string {
  const names = stages.map(({ label }) => label.replace(/^model: /, '')).join('; ');
  return `Not there yet, so made first, by training: ${names}. This takes its time, and is kept in the run.`;
}

/** Kinds of stages that change what the tables show. */
const MOVES_TABLES: readonly StageKind[] = ['evaluation', 'proxy', 'cost', 'shown'];

const SHOWN_NAMES = 3;

/** Errors: ConfigError, DataError where the folder cannot hold a run, before anything is written. */
async function checkFolder(output: string): Promise<void> {
  try {
    await mkdir(output, { recursive: true });
    await access(output, constants.W_OK);
  } catch (error) {
    throw fileError(error, 'write', output);
  }
  // A run that was killed at its start has left a lock. One that begins meanwhile writes run.json first: so that is looked for last.
  const others = (await readdir(output)).filter((name) => name !== 'lock.json' && !name.startsWith('.'));
  if (others.length === 0 || (await readRunFile(output)) !== undefined) return;
  throw new ConfigError(
    `${output} holds other things (${others.slice(0, SHOWN_NAMES).join(', ')}${others.length > SHOWN_NAMES ? ', …' : ''}) and no run.json: it is no run folder. Name another one.`,
  );
}

/** Records of stages that are done, read once. */
function createRecordReader(output: string): RecordOf {
  const known = new Map<string, StageRecord>();
  return <K extends StageKind>(id: string) => {
    const record = known.get(id) ?? readRecord(output, id);
    if (record !== undefined) known.set(id, record);
    return record as unknown as StageRecord<K> | undefined;
  };
}

function createProgressMeter(
  plan: Plan,
  { seconds }: StageCosts,
  { isDone, tell }: { isDone: (id: string) => boolean; tell: ((progress: RunProgress) => void) | undefined },
) {
  const expectedSeconds = ({ id }: AnyStage): number => seconds.get(id)!;
  const total = plan.stages.reduce((sum, stage) => sum + expectedSeconds(stage), 0);
  const doneStages = plan.stages.filter(({ id }) => isDone(id));
  let numDone = doneStages.length;
  let doneSeconds = doneStages.reduce((sum, stage) => sum + expectedSeconds(stage), 0);
  const initialFraction = total === 0 ? 1 : doneSeconds / total;
  const running = new Map<AnyStage, number>();
  const show = () => {
    const partly = [...running].reduce((sum, [stage, fraction]) => sum + fraction * expectedSeconds(stage), 0);
    tell?.({
      numDone,
      numStages: plan.stages.length,
      doneFraction: total === 0 ? 1 : (doneSeconds + partly) / total,
      initialFraction,
      running: [...running.keys()].map(({ label }) => label),
    });
  };
  show();
  return {
    begin(stage: AnyStage) {
      running.set(stage, 0);
      show();
    },
    advance(stage: AnyStage, fraction: number) {
      running.set(stage, Math.min(1, fraction));
      show();
    },
    end(stage: AnyStage) {
      running.delete(stage);
      numDone += 1;
      doneSeconds += expectedSeconds(stage);
      show();
    },
  };
}
