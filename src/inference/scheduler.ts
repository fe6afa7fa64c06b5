/**
 * Which sequence computes what next: policy over plain data, without a device. Sequences with a slot stand in slots 0 … m−1, those
 * that decode first, so that a decode step is the first rows of the cache.
 */
import { invariant } from '../support/errors.js';
import { batchBucket, powerOfTwoAtMost, timeBucket } from './buckets.js';
import { longestLength, prefillLength, type Sequence } from './sequence.js';

export type Action =
  /** Prompt tokens start … of sequences in consecutive slots from `firstSlot`, padded to `time`. */
  | {
      readonly kind: 'prefill';
      readonly sequences: readonly Sequence[];
      readonly firstSlot: number;
      readonly start: number;
      readonly time: number;
    }
  /**
   * The first `count` cached tokens of a slot go to another; `shared` tells a common prefix (which may already be in its place) from a
   * sequence that moves.
   */
  | {
      readonly kind: 'copy';
      readonly from: number;
      readonly to: number;
      readonly count: number;
      readonly shared: boolean;
    }
  /** One token of each of `sequences` (in slots 0, 1, …), as a batch of `batch` rows. */
  | { readonly kind: 'decode'; readonly sequences: readonly Sequence[]; readonly batch: number };

export interface SchedulerOptions {
  /** Most sequences at a time. */
  readonly maxBatch: number;
  /** Longest piece of a prompt in one run, in tokens. */
  readonly chunkSize: number;
  /** Tokens, padding included, prefilled in one run and between two decode steps. */
  readonly prefillTokens: number;
  /** Whether a cache of so many slots of so many tokens may be had; one slot for any one sequence always may. */
  fits(slots: number, capacity: number): boolean;
}

export interface Scheduler {
  /** Queues a waiting sequence. */
  add(sequence: Sequence): void;
  /** What to do now, to be done before the next call; undefined: nothing is left. The state already counts it as done. */
  next(): Action | undefined;
  /** Takes decoding sequences out; called between a decode step and the next `next`. */
  finish(sequences: readonly Sequence[]): void;
  readonly numWaiting: number;
  /** Most tokens that the cache will hold of any sequence, waiting ones included. */
  readonly longest: number;
  /** The sequence in each slot. */
  readonly slots: readonly Sequence[];
}

/** How far into the queue a prefill looks for prompts of a similar length. */
const LOOK_AHEAD = 128;

export function createScheduler(options: SchedulerOptions): Scheduler {
  const { maxBatch, chunkSize, prefillTokens } = options;
  const waiting: Sequence[] = [];
  /** In slots 0 … n−1. */
  let decoding: Sequence[] = [];
  /** In the slots that follow. */
  let prefilling: Sequence[] = [];
  const copies: Action[] = [];
  let prefilledSinceDecode = 0;
  let batch = 0;

  const place = (sequence: Sequence, slot: number, status: Sequence['status']): void => {
    sequence.slot = slot;
    sequence.status = status;
  };
  const takeWaiting = (sequence: Sequence): void => void waiting.splice(waiting.indexOf(sequence), 1);

  /** Whether the cache has room for these beside those that decode, each as long as it may become. */
  const hasRoom = (more: readonly Sequence[]): boolean => {
    const count = decoding.length + more.length;
    return count <= maxBatch && options.fits(count, Math.max(...[...decoding, ...more].map(longestLength)));
  };

  /** The chunk of a prompt that is partly in the cache. */
  const nextChunk = (): Action => {
    const [sequence] = prefilling;
    const start = sequence.numCached;
    const count = Math.min(chunkSize, prefillLength(sequence) - start);
    const time = timeBucket(count, chunkSize);
    sequence.numCached += count;
    if (sequence.numCached === prefillLength(sequence)) {
      prefilling.shift();
      sequence.status = 'decoding';
      decoding.push(sequence);
    }
    prefilledSinceDecode += time;
    return { kind: 'prefill', sequences: [sequence], firstSlot: sequence.slot, start, time };
  };

  /** A waiting sequence whose prompt needs no run: one token long, or in the cache of a sequence that decodes. */
  const admitWithoutRun = (): boolean => {
    const prompts = new Map(decoding.map((sequence) => [sequence.promptTokens, sequence]));
    const sequence = waiting
      .slice(0, LOOK_AHEAD)
      .find((candidate) => prefillLength(candidate) === 0 || prompts.has(candidate.promptTokens));
    if (sequence === undefined || !hasRoom([sequence])) return false;
    takeWaiting(sequence);
    place(sequence, decoding.length, 'decoding');
    const count = prefillLength(sequence);
    sequence.numCached = count;
    if (count > 0) {
      const from = prompts.get(sequence.promptTokens)!.slot;
      copies.push({ kind: 'copy', from, to: sequence.slot, count, shared: true });
    }
    decoding.push(sequence);
    return true;
  };

  /** The first chunks of the first waiting prompt and of others of a similar length. */
  const firstChunks = (): Action | undefined => {
    const bucketOf = (sequence: Sequence) => timeBucket(Math.min(prefillLength(sequence), chunkSize), chunkSize);
    const time = bucketOf(waiting[0]);
    const mostRows = Math.max(1, Math.floor(prefillTokens / time));
    const similar: Sequence[] = [];
    for (const sequence of waiting.slice(0, LOOK_AHEAD)) {
      const bucket = bucketOf(sequence);
      const isSimilar = bucket <= time && bucket * 2 >= time;
      const isNew = !similar.some(({ promptTokens }) => promptTokens === sequence.promptTokens);
      if (isSimilar && isNew && similar.length < mostRows && hasRoom([...similar, sequence])) similar.push(sequence);
    }
    if (similar.length === 0) return undefined;
    const group = similar.slice(0, powerOfTwoAtMost(similar.length));
    // Prompts that this chunk completes come first: those that decode stay in front.
    group.sort((a, b) => Number(prefillLength(a) > chunkSize) - Number(prefillLength(b) > chunkSize));
    const firstSlot = decoding.length;
    group.forEach((sequence, index) => {
      takeWaiting(sequence);
      const isComplete = prefillLength(sequence) <= chunkSize;
      place(sequence, firstSlot + index, isComplete ? 'decoding' : 'prefilling');
      sequence.numCached = Math.min(prefillLength(sequence), chunkSize);
      (isComplete ? decoding : prefilling).push(sequence);
    });
    prefilledSinceDecode += group.length * time;
    return { kind: 'prefill', sequences: group, firstSlot, start: 0, time };
  };

  const prefill = (): Action | undefined => {
    if (prefilling.length > 0) return nextChunk();
    while (waiting.length > 0 && decoding.length < maxBatch) {
      if (!admitWithoutRun()) return firstChunks();
      const copy = copies.shift();
      if (copy !== undefined) return copy;
    }
    return undefined;
  };

  /** The batch only shrinks by half or more: each size is a graph to compile. */
  const decode = (): Action => {
    prefilledSinceDecode = 0;
    const needed = batchBucket(decoding.length);
    const longest = Math.max(...decoding.map(longestLength));
    if (needed > batch || decoding.length <= batch / 2 || !options.fits(batch, longest)) batch = needed;
    return { kind: 'decode', sequences: [...decoding], batch };
  };

  const move = (sequence: Sequence, to: number): void => {
    copies.push({ kind: 'copy', from: sequence.slot, to, count: sequence.numCached, shared: false });
    sequence.slot = to;
  };

  /** Gives sequences the slots first … first + n − 1; those that already stand there stay. */
  const compact = (sequences: readonly Sequence[], first: number): Sequence[] => {
    const end = first + sequences.length;
    const stays = (sequence: Sequence) => sequence.slot >= first && sequence.slot < end;
    const taken = new Set(sequences.filter(stays).map(({ slot }) => slot));
    let free = first;
    for (const sequence of sequences) {
      if (stays(sequence)) continue;
      while (taken.has(free)) free++;
      move(sequence, free++);
    }
    return [...sequences].sort((a, b) => a.slot - b.slot);
  };

  return {
    get numWaiting() {
      return waiting.length;
    },
    get longest() {
      return Math.max(...[...decoding, ...prefilling, ...waiting].map(longestLength));
    },
    get slots() {
      return [...decoding, ...prefilling];
    },
    add(sequence) {
      invariant(sequence.status === 'waiting', `sequence ${sequence.id} was queued twice`);
      waiting.push(sequence);
    },
    next() {
      const copy = copies.shift();
      if (copy !== undefined) return copy;
      const mayPrefill = decoding.length === 0 || prefilledSinceDecode < prefillTokens;
      const action = mayPrefill ? prefill() : undefined;
      if (action !== undefined) return action;
      return decoding.length > 0 ? decode() : undefined;
    },
    finish(sequences) {
      for (const sequence of sequences) {
        const { slot } = sequence;
        const index = decoding.indexOf(sequence);
        invariant(index >= 0, `sequence ${sequence.id} finished without decoding`);
        place(sequence, -1, 'finished');
        // A sample of the same prompt finds its prefix where it is.
        const heir = waiting.find(
          (candidate) =>
            candidate.promptTokens === sequence.promptTokens && longestLength(candidate) <= longestLength(sequence),
        );
        if (heir === undefined) {
          decoding.splice(index, 1);
          continue;
        }
        takeWaiting(heir);
        place(heir, slot, 'decoding');
        heir.numCached = prefillLength(heir);
        decoding[index] = heir;
        copies.push({ kind: 'copy', from: slot, to: slot, count: heir.numCached, shared: true });
      }
      decoding = compact(decoding, 0);
      prefilling = compact(prefilling, decoding.length);
    },
  };
}
