/** One response in the making: data only. The scheduler decides where it stands, the generator what is appended. */
import type { SamplerSettings } from './samplers/settings.js';
import type { TextStream } from './text-stream.js';

export type FinishReason = 'stop' | 'length';

export interface Sequence {
  /** Of the request. */
  readonly id: string;
  /** Index among the samples of the request. */
  readonly sample: number;
  /** One array for all samples of a request: being the same array is what makes sequences share a prefix. */
  readonly promptTokens: readonly number[];
  /** The response so far; `logprobs` go with it. */
  readonly tokens: number[];
  readonly logprobs: number[];
  /** Numbers that processors gave for each token, by name. */
  readonly statistics: Map<string, number[]>;
  /** Decides every random number of this sequence, whatever shares its batch; made of the request's. */
  readonly seed: string;
  readonly requestSeed: number;
  readonly sampler: SamplerSettings;
  /** Length of the longest response: the limit asked for, or what the context leaves. */
  readonly maxTokens: number;
  /** Ids that end the response. */
  readonly stopTokenIds: ReadonlySet<number>;
  /** Absent where there is no tokenizer. */
  readonly text: TextStream | undefined;
  status: 'waiting' | 'prefilling' | 'decoding' | 'finished';
  /** Row of the cache; −1 while it has none. */
  slot: number;
  /** Tokens whose keys and values are in the cache: positions 0 … numCached − 1. */
  numCached: number;
  finish: FinishReason | undefined;
}

/** The token at a position, prompt first. */
export function tokenAt({ promptTokens, tokens }: Pick<Sequence, 'promptTokens' | 'tokens'>, position: number): number {
  return position < promptTokens.length ? promptTokens[position] : tokens[position - promptTokens.length];
}

/** Tokens to prefill: all of the prompt but the last, which is the first decode step. */
export const prefillLength = (sequence: Pick<Sequence, 'promptTokens'>): number => sequence.promptTokens.length - 1;

/** Most tokens that the cache will hold of a sequence. */
export const longestLength = ({ promptTokens, maxTokens }: Pick<Sequence, 'promptTokens' | 'maxTokens'>): number =>
  promptTokens.length + maxTokens;
