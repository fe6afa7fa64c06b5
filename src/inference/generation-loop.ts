/** One step after another: take requests in, do what the scheduler says, append tokens, hand finished traces out. */
import type { Precision } from '../engine/onnx/emitter.js';
import { BackendError, OverflowError } from '../support/errors.js';
import type { GenerationRequest } from './request.js';
import type { Source } from './request-source.js';
import type { LogitsProcessor } from './samplers/processor.js';
import type { Sampler } from './samplers/sampler.js';
import type { Action, Scheduler } from './scheduler.js';
import { type FinishReason, prefillLength, type Sequence } from './sequence.js';
import type { StepRunner } from './step-runner.js';
import { type Trace, traceOf } from './trace.js';

/** A token the moment it is drawn. */
export interface TokenEvent {
  readonly id: string;
  readonly sample: number;
  readonly token: number;
  readonly logprob: number;
  /** The text that this token makes certain. */
  readonly text: string;
}

export interface GenerateOptions {
  readonly onToken?: ((event: TokenEvent) => void) | undefined;
  /** Called as sequences finish, in that order; generation waits for what it returns. */
  readonly onTrace?: ((trace: Trace) => void | Promise<void>) | undefined;
  /** Stops between two steps; unfinished sequences give no trace. */
  readonly signal?: AbortSignal | undefined;
}

export interface GenerationStats {
  readonly numTraces: number;
  /** Sequences begun or queued when it was stopped. */
  readonly numUnfinished: number;
  readonly isAborted: boolean;
  /** Tokens of responses, unfinished ones included. */
  readonly numTokens: number;
  readonly numPromptTokens: number;
  /** Prompt tokens that went through the model before decoding, without padding. */
  readonly numPrefilledTokens: number;
  /** Prompt tokens whose keys and values were copied, or left in place, from another sample. */
  readonly numSharedTokens: number;
  readonly numSteps: number;
  readonly durationMs: number;
  /** In the model's and the sampler's runs of decode steps. */
  readonly decodeMs: number;
  readonly prefillMs: number;
}

interface Parts {
  readonly scheduler: Scheduler;
  readonly runner: StepRunner;
  readonly sampler: Sampler;
  readonly maxBatch: number;
  /** For the record of a trace. */
  readonly processors: readonly LogitsProcessor[];
  readonly precision: Precision;
  fits(slots: number, capacity: number): boolean;
}

interface Work {
  /** The sequences of a request. */
  expand(request: GenerationRequest): readonly Sequence[];
  readonly callbacks: GenerateOptions;
}

/** Requests are taken in while fewer sequences than this many batches wait. */
const LOW_WATER = 2;

/** Runs until the source is exhausted and every sequence is finished, or the signal is given. */
export async function runGeneration(
  parts: Parts,
  source: Source<GenerationRequest>,
  { expand, callbacks }: Work,
): Promise<GenerationStats> {
  const { scheduler } = parts;
  const { onToken, onTrace, signal } = callbacks;
  const stats = emptyStats();
  const startedMs = performance.now();
  const aborted = signal === undefined ? undefined : abortion(signal);

  const takeIn = (): void => {
    while (scheduler.numWaiting < LOW_WATER * parts.maxBatch) {
      const request = source.take();
      if (request === undefined) return;
      for (const sequence of expand(request)) {
        stats.numPromptTokens += sequence.promptTokens.length;
        scheduler.add(sequence);
      }
    }
  };

  try {
    while (signal?.aborted !== true) {
      takeIn();
      const action = scheduler.next();
      if (action === undefined) {
        if (source.isExhausted) break;
        await (aborted === undefined ? source.arrival() : Promise.race([source.arrival(), aborted.happened]));
        continue;
      }
      const finished = await perform(parts, action, { stats, onToken });
      for (const sequence of finished) {
        stats.numTraces += 1;
        await onTrace?.(traceOf(sequence, sequence.finish!, parts));
      }
    }
  } finally {
    source.close();
    aborted?.dispose();
  }
  return {
    ...stats,
    numUnfinished: scheduler.slots.length + scheduler.numWaiting,
    isAborted: signal?.aborted === true,
    durationMs: performance.now() - startedMs,
  };
}

type Counts = { -readonly [K in keyof GenerationStats]: GenerationStats[K] };

const emptyStats = (): Counts => ({
  numTraces: 0,
  numUnfinished: 0,
  isAborted: false,
  numTokens: 0,
  numPromptTokens: 0,
  numPrefilledTokens: 0,
  numSharedTokens: 0,
  numSteps: 0,
  durationMs: 0,
  decodeMs: 0,
  prefillMs: 0,
});

function abortion(signal: AbortSignal): { happened: Promise<void>; dispose(): void } {
  let tell = (): void => undefined;
  const happened = new Promise<void>((resolve) => {
    tell = resolve;
  });
  signal.addEventListener('abort', tell);
  return { happened, dispose: () => signal.removeEventListener('abort', tell) };
}

/** Gives the sequences that the action finished; the scheduler knows. */
async function perform(
  { scheduler, runner, sampler, maxBatch, fits }: Parts,
  action: Action,
  { stats, onToken }: { stats: Counts; onToken: GenerateOptions['onToken'] },
): Promise<readonly Sequence[]> {
  const { slots } = scheduler;
  const used = slots.map(({ numCached }) => numCached);
  const ensure = (numRows: number, numTokens: number): void => {
    const rows = Math.max(numRows, slots.length);
    const capacity = Math.max(numTokens, ...used);
    // Room for those that wait as well, so that the cache need not grow with each of them.
    const soon = Math.min(slots.length + scheduler.numWaiting, maxBatch);
    const numSlots = soon > rows && fits(soon, capacity) ? soon : rows;
    runner.ensure({ slots: numSlots, capacity, longest: scheduler.longest }, used);
  };

  if (action.kind === 'copy') {
    ensure(action.to + 1, action.count);
    if (action.from !== action.to) runner.copy(action.from, action.to, action.count);
    if (action.shared) stats.numSharedTokens += action.count;
    return [];
  }
  const startedMs = performance.now();
  if (action.kind === 'prefill') {
    const { sequences, firstSlot, start, time } = action;
    // All of a prompt at once, and the token that follows.
    const lengths = sequences.map(({ promptTokens }) => promptTokens.length + 1);
    ensure(firstSlot + sequences.length, Math.max(start + time, ...lengths));
    await runner.prefill(action);
    for (const sequence of sequences) {
      stats.numPrefilledTokens += Math.min(time, prefillLength(sequence) - start);
    }
    stats.prefillMs += performance.now() - startedMs;
    return [];
  }

  const { sequences, batch } = action;
  ensure(batch, Math.max(...used) + 1);
  await runner.decode(batch, sequences, used);
  const { ids, logprobs, statistics } = await sampler.sample({
    sequences,
    batch,
    logits: runner.results(batch).logits,
  });
  stats.decodeMs += performance.now() - startedMs;
  stats.numSteps += 1;
  stats.numTokens += sequences.length;
  const finished: Sequence[] = [];
  for (let row = 0; row < sequences.length; row++) {
    const sequence = sequences[row];
    checkNumbers(sequence, logprobs[row]);
    for (const [name, values] of Object.entries(statistics)) {
      checkStatistic(sequence, name, values[row]);
      const kept = sequence.statistics.get(name) ?? [];
      kept.push(values[row]);
      sequence.statistics.set(name, kept);
    }
    append(sequence, Number(ids[row]), logprobs[row], onToken);
    if (sequence.finish !== undefined) finished.push(sequence);
  }
  if (finished.length > 0) scheduler.finish(finished);
  return finished;
}

/** Errors: BackendError where the model gave no numbers. */
function checkNumbers({ id, tokens }: Sequence, logprob: number): void {
  if (Number.isFinite(logprob)) return;
  throw new BackendError(
    `Row '${id}': the model's logits are not finite after ${tokens.length} tokens. Are the weights sound?`,
  );
}

/** Of a token that was drawn, of finite logits. Errors: OverflowError where the processors made no distribution of them. */
function checkStatistic({ id, tokens }: Sequence, name: string, value: number): void {
  if (Number.isFinite(value)) return;
  throw new OverflowError(
    `Row '${id}': ${name} is not finite after ${tokens.length} tokens. Is λ too large, the step (--epsilon) too long, or the temperature too low?`,
  );
}

/** Appends a token, tells of it and decides whether it is the last. */
function append(sequence: Sequence, token: number, logprob: number, onToken: GenerateOptions['onToken']): void {
  const { tokens, logprobs, text, maxTokens, stopTokenIds } = sequence;
  sequence.numCached += 1;
  tokens.push(token);
  logprobs.push(logprob);
  const isStopToken = stopTokenIds.has(token);
  let piece = isStopToken ? '' : (text?.push(token) ?? '');
  const finish = (): FinishReason | undefined => {
    if (isStopToken || text?.isStopped === true) return 'stop';
    return tokens.length >= maxTokens ? 'length' : undefined;
  };
  sequence.finish = finish();
  if (sequence.finish !== undefined && text !== undefined) {
    piece += text.end();
    if (text.isStopped) sequence.finish = 'stop'; // completed by what was withheld
  }
  onToken?.({ id: sequence.id, sample: sequence.sample, token, logprob, text: piece });
}
