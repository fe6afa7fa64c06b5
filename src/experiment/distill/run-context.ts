/** What a distillation run is told, and what its parts work with. */
import type { DistillConfig, Method } from './config.js';
import type { DistillRecords } from './record-book.js';
import type { RunSetup } from './setup.js';

export interface DistillOptions {
  readonly config: DistillConfig;
  /** Sequence-level students are there in any case. */
  readonly methods: readonly Method[];
  readonly output: string;
  /** The command without its output folder, for the record. */
  readonly command?: string | undefined;
  readonly threads?: number | undefined;
  readonly signal: AbortSignal;
  readonly log: (message: string) => void;
  /** Of the work at hand: a student's steps, or the teacher's answers. */
  readonly onProgress: (progress: DistillProgress) => void;
  /** After every student that is done: what there is so far. */
  readonly onRow?: ((records: DistillRecords) => Promise<void>) | undefined;
}

export interface DistillProgress {
  /** What is at work: a student, or the teacher. */
  readonly name: string;
  readonly unit: 'steps' | 'answers';
  readonly done: number;
  readonly total: number;
  readonly note: string;
}

/** The options with what was opened for them. */
export interface Work extends DistillOptions {
  readonly setup: RunSetup;
}

/** How models are asked. */
export const settingsOf = ({ config, setup, signal }: Work) => ({
  ...{ task: setup.task, signal, maxTokens: config.sampling.maxTokens ?? setup.task.maxTokens },
  maxBatch: config.sampling.maxBatch,
});
