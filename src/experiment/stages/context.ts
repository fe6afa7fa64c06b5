/** What a stage has while it runs. */
import type { Compiler } from '../../engine/compiler.js';
import type { OpenedModel } from '../../jobs/open-model.js';
import { ConfigError } from '../../support/errors.js';
import type { Tokenizer } from '../../tokenizer/types.js';
import type { ModelRef, StageKind, StageResults } from '../stage.js';
import type { Task } from '../task.js';

export interface StageContext {
  readonly task: Task;
  readonly compiler: Compiler;
  /** Where the stage writes. What is in it survives a crash: the same stage finds it when it is run again. */
  readonly folder: string;
  /** A folder inside for what is not part of the result. */
  readonly scratch: string;
  /** Folder of a stage that is done. */
  folderOf(id: string): string;
  resultOf<K extends StageKind>(id: string): StageResults[K];
  /** Where a model lies. */
  locationOf(ref: ModelRef): string;
  /** A model kept in memory for later stages: not to be changed nor disposed of. */
  open(ref: ModelRef): Promise<OpenedModel>;
  /** A model of the caller's own, to be trained or with an adapter; it disposes of it. */
  openOwn(ref: ModelRef, options?: { adapter?: string | undefined }): Promise<OpenedModel>;
  readonly signal: AbortSignal;
  /** Share of the work that is done, 0–1. */
  readonly onProgress: (doneFraction: number) => void;
  readonly log: (message: string) => void;
}

/** The tokenizer of a model. Errors: ConfigError where it has none. */
export function tokenizerOf({ tokenizer, checkpoint }: OpenedModel): Tokenizer {
  if (tokenizer !== undefined) return tokenizer;
  throw new ConfigError(
    `${checkpoint.location}: a run needs the model's tokenizer. Put tokenizer.json beside its weights.`,
  );
}
