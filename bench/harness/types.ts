/** What a benchmark is made of: cases hold groups, groups hold series that alternate, a series is one command run once a round. */
import type { Peers } from './peers.js';

/** What one run of a command printed: one flat JSON object. */
export type Sample = Readonly<Record<string, unknown>>;

export type Command = {
  /** Beside a process that keeps one core busy. */ readonly isBeside?: boolean;
  /** Variables of its environment. */ readonly env?: Readonly<Record<string, string>>;
} /** A measurement of this program, in a process of its own. */ & (
  | { readonly kind: 'measure'; readonly name: string; readonly options: Readonly<Record<string, unknown>> }
  /** A program of bench/peers that prints one JSON line. */
  | { readonly kind: 'peer'; readonly command: readonly string[] }
);

interface Series {
  /** `azeotrope`, `limits` (what the machine reaches) or the name of a peer. */
  readonly who: string;
  readonly command: Command;
}

/** Series that are compared: in each round every one runs once, one after the other. */
export interface Group {
  readonly setting: string;
  readonly threads: number;
  readonly series: readonly Series[];
  /** Rounds of this group; default: those asked for. */
  readonly rounds?: number;
}

/** A quantity of a group's table rows, and where it is found in what azeotrope and its peers print. */
export interface Metric {
  readonly quantity: string;
  readonly unit: string;
  /** Key in azeotrope's sample. */
  readonly key: string;
  /** Factor from the samples' unit to `unit`; default 1. */
  readonly scale?: number;
  /** Key in the sample of each peer that measures the same. */
  readonly peers?: Readonly<Record<string, string>>;
  /** Keys of azeotrope's sample with what it reached of the machine's limits: products in its precision (GFLOP/s), memory read (GB/s). */
  readonly shares?: { readonly products?: string; readonly memory?: string };
}

export interface BenchContext {
  readonly threads: readonly number[];
  /** Time of one measurement, in seconds. */
  readonly seconds: number;
  /** Fewer settings. */
  readonly quick: boolean;
  /** A SmolLM2-135M GGUF file, if there is one. */
  readonly model: string | undefined;
  /** Rows of word problems, if there are any. */
  readonly wordProblems: string | undefined;
  readonly peers: Peers;
  /** Folder for files that later runs may use again. */
  readonly scratch: string;
  log(message: string): void;
}

export interface BenchCase {
  readonly name: string;
  readonly summary: string;
  /** Runs only where it is named. */
  readonly isLong?: boolean;
  readonly metrics: readonly Metric[];
  /** Empty where something that it needs is absent; the reason goes to `context.log`. */
  groups(context: BenchContext): readonly Group[] | Promise<readonly Group[]>;
  /** A table of its own, for results that are lists. */
  table?(results: readonly GroupResult[]): Table | undefined;
}

/** The samples of a group; each entry of `rounds` holds what its series printed, by `who`; a failed run has none. */
export interface GroupResult {
  readonly group: Group;
  readonly rounds: readonly Readonly<Record<string, Sample>>[];
}

export interface Table {
  readonly title: string;
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
}
