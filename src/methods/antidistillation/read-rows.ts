/** A readout over rows of tokens: similar lengths together, long ones through a cache. */
import { powerOfTwoAtMost } from '../../inference/buckets.js';
import { checkTokens } from '../../inference/request.js';
import type { ScoreRow } from '../../inference/score.js';
import type { LanguageModel } from '../../model/language-model.js';
import { DataError } from '../../support/errors.js';
import { bindReadout, type Readout, type ReadoutRequest } from './readout.js';
import { type BoundTrunk, bindChunkTrunk, bindWholeTrunk } from './trunk.js';

export interface ReadOptions {
  /** False: only `vectorsAfter` is wanted, not the numbers of the given tokens. Default true. */
  readonly ofGiven?: boolean | undefined;
  /** Largest numbers reported at each position; default 0. */
  readonly topK?: number | undefined;
  /** Positions of row i after which the numbers of all ids are wanted; default none. */
  readonly vectorsAfter?: ((row: number) => readonly number[]) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface RowNumbers {
  /** The number of each given token, read after the tokens before it; the first has none. */
  readonly values: (number | null)[];
  /** The largest at each position, largest first. */
  readonly top: (readonly (readonly [id: number, value: number])[] | null)[];
  /** The numbers of all ids, as `vectorsAfter` asked for them. */
  readonly vectors: Float32Array[];
}

/** Elements of the largest [n, V] tensor, 64 MiB. */
const MAX_LOGITS = 2 ** 24;
const MAX_POSITIONS = 256;
/** Tokens of a run, padding included. */
const MAX_TOKENS = 2048;
const WHOLE_TIMES = [16, 32, 64, 128, 256, 512];

/** Numbers for every row, in the order of the rows. Errors: DataError naming the row for tokens that the model cannot read. */
export async function readTokens(
  readout: Readout,
  rows: readonly ScoreRow[],
  options: ReadOptions = {},
): Promise<RowNumbers[]> {
  const { config } = readout.sources[0].model;
  for (const { id, tokens } of rows) {
    checkTokens(id, tokens, config);
    if (tokens.length > config.maxPositions)
      throw new DataError(
        `Row '${id}' has ${tokens.length} tokens, but the context of the model that reads it is ${config.maxPositions}. Shorten the row.`,
      );
  }
  const jobs = rows.map(({ tokens }, row) => {
    const numbers: RowNumbers = { values: [null], top: [null], vectors: [] };
    return { tokens, numbers, positions: options.vectorsAfter?.(row) ?? [] };
  });
  const ofTime = (time: number | undefined) =>
    jobs.filter(({ tokens }) => WHOLE_TIMES.find((known) => known >= tokens.length) === time);
  for (const time of WHOLE_TIMES) {
    const members = ofTime(time);
    for (let start = 0; start < members.length; ) {
      const batch = powerOfTwoAtMost(Math.min(Math.max(1, Math.floor(MAX_TOKENS / time)), members.length - start));
      const part = members.slice(start, start + batch);
      const trunks = readout.sources.map((source) => bindWholeTrunk(source, { batch, time }));
      await readJobs(readout, part, { trunks, time, options });
      start += batch;
    }
  }
  for (const job of ofTime(undefined)) {
    const trunks = readout.sources.map((source) => bindChunkTrunk(source, job.tokens.length));
    await readJobs(readout, [job], { trunks, time: job.tokens.length, options });
  }
  return jobs.map(({ numbers }) => numbers);
}

interface Job {
  readonly tokens: readonly number[];
  readonly positions: readonly number[];
  readonly numbers: RowNumbers;
}

/** Reads rows of at most `time` tokens, then frees the trunks. */
async function readJobs(
  readout: Readout,
  jobs: readonly Job[],
  { trunks, time, options }: { trunks: readonly BoundTrunk[]; time: number; options: ReadOptions },
): Promise<void> {
  const { ofGiven = true, topK = 0, signal } = options;
  try {
    for (const trunk of trunks) {
      signal?.throwIfAborted();
      await trunk.run(jobs.map(({ tokens }) => tokens));
    }
    const given = (ofGiven ? jobs : []).flatMap((job, row) =>
      job.tokens.slice(1).map((target, index) => ({ job, position: row * time + index, target })),
    );
    await readPositions(readout, given, { trunks, output: { topK }, signal }, (bound, index, { job }) => {
      job.numbers.values.push(bound.valueOf(index));
      job.numbers.top.push(bound.topOf(index));
    });
    const whole = jobs.flatMap((job, row) =>
      job.positions.map((position) => ({ job, position: row * time + position, target: 0 })),
    );
    await readPositions(readout, whole, { trunks, output: 'vectors', signal }, (bound, index, { job }) => {
      job.numbers.vectors.push(bound.vectorOf(index));
    });
  } finally {
    for (const trunk of trunks) trunk.dispose();
  }
}

/** Logits of every id after the last token of each row. */
export async function lastLogits(
  model: LanguageModel,
  rows: readonly ScoreRow[],
  signal?: AbortSignal,
): Promise<Float32Array[]> {
  const vectorsAfter = (row: number) => [rows[row].tokens.length - 1];
  const read = await readTokens({ kind: 'logits', sources: [{ model }] }, rows, {
    ofGiven: false,
    vectorsAfter,
    signal,
  });
  return read.map(({ vectors }) => vectors[0]);
}

/** Runs the head over positions, as many at a time as memory allows, and hands on each. */
async function readPositions<Request extends ReadoutRequest>(
  readout: Readout,
  requests: readonly Request[],
  how: {
    trunks: readonly BoundTrunk[];
    output: Parameters<typeof bindReadout>[1]['output'];
    signal: AbortSignal | undefined;
  },
  collect: (bound: ReturnType<typeof bindReadout>, index: number, request: Request) => void,
): Promise<void> {
  if (requests.length === 0) return;
  const { vocabSize } = readout.sources[0].model.config;
  const most = Math.max(1, Math.min(MAX_POSITIONS, Math.floor(MAX_LOGITS / vocabSize)));
  const needed = 2 ** Math.ceil(Math.log2(requests.length));
  const capacity = Math.min(powerOfTwoAtMost(most), needed);
  const bound = bindReadout(readout, { capacity, output: how.output });
  try {
    for (let start = 0; start < requests.length; start += capacity) {
      how.signal?.throwIfAborted();
      const part = requests.slice(start, start + capacity);
      await bound.run(how.trunks, part);
      for (const [index, request] of part.entries()) collect(bound, index, request);
    }
  } finally {
    bound.dispose();
  }
}
