/** What a run will cost, told before it begins: rows, tokens, memory and time of each stage. */
import { existsSync } from 'node:fs';
import { openCheckpoint } from '../../model/checkpoint.js';
import type { TransformerConfig } from '../../model/config.js';
import { countParameters } from '../../model/parameters.js';
import { canonicalJson } from '../../support/hash.js';
import { estimateInferenceBytes, estimateTrainingBytes } from '../../training/memory-estimate.js';
import type { RunConfig } from '../config.js';
import type { AnyStage, StageKind } from '../stage.js';
import type { ModelRequest, ModelSource, ModelTokens, Task } from '../task.js';
import { samplingFlop, trainingFlop } from './flop.js';
import type { Rates } from './rates.js';

interface StageEstimate {
  readonly kind: StageKind;
  readonly label: string;
  /** Questions answered, or rows learned from; 0 where neither applies. */
  readonly rows: number;
  readonly sampledTokens: number;
  readonly trainedTokens: number;
  /** Peak of the process; undefined where the size of a model is not known. */
  readonly memoryBytes: number | undefined;
  /** On one thread; undefined where the size of a model is not known. */
  readonly seconds: number | undefined;
}

export interface RunEstimate {
  readonly stages: readonly StageEstimate[];
  readonly totalSeconds: number | undefined;
  /** Of the largest stage. */
  readonly peakBytes: number | undefined;
  readonly models: readonly { readonly name: string; readonly numParameters: number | undefined }[];
  /** Where the times come from. */
  readonly source: string;
}

const FLOAT_BYTES = 4;
/** Seconds a token costs however small the model is: calls of the engine, drawing, text. Seen with models of 0.2 to 0.5 M weights. */
const LEAST_SECONDS = { sampled: 1 / 15_000, trained: 1 / 50_000 };

/** Estimates the stages of a plan of this configuration. Errors: those of `task.modelSource`. */
export async function estimateRun(
  { config, task, stages }: { config: RunConfig; task: Task; stages: readonly AnyStage[] },
  rates: Rates,
): Promise<RunEstimate> {
  const shapes = await shapesOf(task, stages);
  const shapeOf = (request: ModelRequest) => shapes.get(canonicalJson({ ...request }));
  const sizes = sizesOf(config, task);
  const estimates = stages.map((stage): StageEstimate => {
    const { sampled = [], trained = [] } = stage.work;
    const total = (parts: readonly ModelTokens[]) => parts.reduce((sum, { tokens }) => sum + tokens, 0);
    const secondsOf = (
      parts: readonly ModelTokens[],
      flop: (shape: TransformerConfig) => number,
      rate: number,
      least: number,
    ) =>
      summed(parts.map(({ model, tokens }) => over(shapeOf(model), (shape) => tokens * (flop(shape) / rate + least))));
    const { prompt, response } = task.expectedTokens;
    return {
      kind: stage.kind,
      label: stage.label,
      rows: rowsOf(stage, config),
      sampledTokens: total(sampled),
      trainedTokens: total(trained),
      memoryBytes: memoryOf(stage, { shapeOf, sizes }),
      seconds: summed([
        secondsOf(
          sampled,
          (shape) => samplingFlop(shape, prompt + response / 2),
          rates.sampledFlopPerSecond,
          LEAST_SECONDS.sampled,
        ),
        secondsOf(
          trained,
          (shape) => trainingFlop(shape, prompt + response),
          rates.trainedFlopPerSecond,
          LEAST_SECONDS.trained,
        ),
      ]),
    };
  });
  const named = new Map<string, number | undefined>();
  for (const { request, shape } of requestsOf(stages).map((each) => ({ request: each, shape: shapeOf(each) }))) {
    named.set(nameOf(request), over(shape, countParameters));
  }
  return {
    stages: estimates,
    totalSeconds: summed(estimates.map(({ seconds }) => seconds)),
    peakBytes: over(estimates.every(({ memoryBytes }) => memoryBytes !== undefined) || undefined, () =>
      estimates.reduce((most, { memoryBytes = 0 }) => Math.max(most, memoryBytes), 0),
    ),
    models: [...named].map(([name, numParameters]) => ({ name, numParameters })),
    source: rates.source,
  };
}

const over = <T, R>(value: T | undefined, of: (value: T) => R): R | undefined =>
  value === undefined ? undefined : of(value);

function summed(values: readonly (number | undefined)[]): number | undefined {
  return values.reduce<number | undefined>(
    (sum, value) => (sum === undefined || value === undefined ? undefined : sum + value),
    0,
  );
}

const nameOf = ({ role, kind }: ModelRequest): string => (kind === 'default' ? role : `${role} (${kind})`);

function requestsOf(stages: readonly AnyStage[]): ModelRequest[] {
  return stages.flatMap(({ work }) => [...(work.sampled ?? []), ...(work.trained ?? [])].map(({ model }) => model));
}

async function shapesOf(task: Task, stages: readonly AnyStage[]): Promise<Map<string, TransformerConfig>> {
  const shapes = new Map<string, TransformerConfig>();
  const requests = new Map(requestsOf(stages).map((request) => [canonicalJson({ ...request }), request]));
  for (const [key, request] of requests) {
    const config = await configOf(await task.modelSource(request));
    if (config !== undefined) shapes.set(key, config);
  }
  return shapes;
}

/** What the task says of a model, or its files; undefined where neither is known before the run. */
async function configOf(source: ModelSource): Promise<TransformerConfig | undefined> {
  if (source.config !== undefined || source.kind === 'build' || !existsSync(source.location)) return source.config;
  const checkpoint = await openCheckpoint(source.location);
  checkpoint.dispose();
  return checkpoint.config;
}

interface RunSizes {
  readonly batch: number;
  /** Most tokens of a prompt, about, and a response. */
  readonly context: number;
  readonly trainedTime: number;
  readonly training: RunConfig['training'];
}

function sizesOf({ sampling, training }: RunConfig, { maxTokens, expectedTokens }: Task): RunSizes {
  const context = expectedTokens.prompt + (sampling.maxTokens ?? maxTokens);
  return { batch: sampling.maxBatch, context, trainedTime: Math.min(context, training.maxLength ?? context), training };
}

function rowsOf(stage: AnyStage, config: RunConfig): number {
  switch (stage.kind) {
    case 'traces':
      return stage.inputs.to - stage.inputs.from;
    case 'evaluation':
      return stage.inputs.count * (1 + stage.inputs.probes.length);
    case 'strength':
    case 'cost':
      return stage.inputs.count;
    case 'proxy':
      return config.holdout.count;
    case 'student':
      return config.traces.count * Object.keys(stage.needs).filter((name) => name.startsWith('traces')).length;
    default:
      return 0;
  }
}

/** Weights and caches of every model that a stage holds, or what a training step needs. */
function memoryOf(
  stage: AnyStage,
  { shapeOf, sizes }: { shapeOf: (request: ModelRequest) => TransformerConfig | undefined; sizes: RunSizes },
): number | undefined {
  const { sampled = [], trained = [] } = stage.work;
  const { batch, context, trainedTime, training } = sizes;
  if (trained.length > 0) {
    const isProxy = stage.kind === 'proxy';
    const shape = {
      batch: Math.max(1, Math.min(training.batchSize, Math.floor(training.microBatchTokens / trainedTime))),
      time: trainedTime,
      lora: isProxy ? undefined : training.lora,
      checkpointing: training.activationCheckpointing === true,
    };
    return over(shapeOf(trained[0].model), (config) => estimateTrainingBytes(config, shape).totalBytes);
  }
  // The model that samples comes first; what steps beside it holds two sets of weights and caches.
  return summed(
    sampled.map(({ model }, index) =>
      over(shapeOf(model), (config) => {
        const { totalBytes, weightBytes, activationBytes } = estimateInferenceBytes(config, { batch, context });
        return index === 0 ? totalBytes : 2 * (weightBytes + activationBytes);
      }),
    ),
  );
}

/** The estimate as lines of a terminal: stages of one kind and model together. */
export function describeEstimate(
  estimate: RunEstimate,
  { cores, freeBytes }: { cores: number; freeBytes: number },
): string {
  const lines = ['Models (float32 in memory):'];
  for (const { name, numParameters } of estimate.models) {
    lines.push(
      `  ${name.padEnd(20)} ${numParameters === undefined ? 'size not known: the model is not here and the recipe does not describe it' : `${count(numParameters)} parameters, ${gigabytes(FLOAT_BYTES * numParameters)}`}`,
    );
  }
  lines.push(
    '',
    `${'stages'.padEnd(12)}${'number'.padStart(7)}${'rows'.padStart(9)}${'sampled'.padStart(10)}${'trained'.padStart(10)}${'memory'.padStart(11)}${'one thread'.padStart(14)}`,
  );
  const kinds = [...new Set(estimate.stages.map(({ kind }) => kind))];
  for (const kind of kinds) {
    const own = estimate.stages.filter((stage) => stage.kind === kind);
    const add = (of: (stage: StageEstimate) => number) => own.reduce((sum, stage) => sum + of(stage), 0);
    const memory = own.some(({ memoryBytes }) => memoryBytes === undefined)
      ? 'not known'
      : gigabytes(own.reduce((most, { memoryBytes = 0 }) => Math.max(most, memoryBytes), 0));
    lines.push(
      `${kind.padEnd(12)}${String(own.length).padStart(7)}${count(add(({ rows }) => rows)).padStart(9)}${count(add(({ sampledTokens }) => sampledTokens)).padStart(10)}` +
        `${count(add(({ trainedTokens }) => trainedTokens)).padStart(10)}${memory.padStart(11)}${duration(summed(own.map(({ seconds }) => seconds))).padStart(14)}`,
    );
  }
  const { totalSeconds, peakBytes } = estimate;
  lines.push(
    '',
    `${estimate.stages.length} stages; about ${duration(over(totalSeconds, (seconds) => seconds / cores))} on ${cores} ${cores === 1 ? 'core' : 'cores'}; the largest stage needs ${peakBytes === undefined ? 'memory that is not known' : gigabytes(peakBytes)}, ${gigabytes(freeBytes)} are free.`,
    estimate.source,
  );
  if (peakBytes !== undefined && peakBytes > freeBytes)
    lines.push(
      'It does not fit into the memory that is free: use a larger machine, smaller models or shorter batches.',
    );
  return `${lines.join('\n')}\n`;
}

function count(value: number): string {
  if (value === 0) return '–';
  const units = ['', ' k', ' M', ' B', ' T'];
  const power = value < 10_000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(value) / 3));
  return power === 0 ? String(Math.round(value)) : `${(value / 1000 ** power).toPrecision(3)}${units[power]}`;
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(bytes < 10e9 ? 1 : 0)} GB`;

function duration(seconds: number | undefined): string {
  if (seconds === undefined) return 'not known';
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}
