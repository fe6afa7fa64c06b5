/** The checkpoints of the embedded task, made from their seeds: those that the package brings along, and any others. */
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Compiler } from '../../engine/compiler.js';
import type { ModelRequest } from '../task.js';
import { buildModel } from './build-model.js';
import { folderNameOf } from './models.js';

export interface CheckpointOptions {
  readonly compiler: Compiler;
  /** Folder of the folders. */
  readonly output: string;
  readonly signal: AbortSignal;
  /** Called before each model that is made, and for each that is there already. */
  readonly onModel: (name: string, state: 'made' | 'there') => void;
  readonly onProgress: (doneFraction: number) => void;
}

/**
 * Makes the models that are not in `output` yet, one after the other; a folder appears when its model is whole. Errors: ConfigError for
 * kinds that there are not; the signal's reason.
 */
export async function makeCheckpoints(requests: readonly ModelRequest[], options: CheckpointOptions): Promise<void> {
  const { compiler, output, signal, onModel, onProgress } = options;
  for (const request of requests) {
    const name = folderNameOf(request);
    const folder = join(output, name);
    if (existsSync(folder)) {
      onModel(name, 'there');
      continue;
    }
    onModel(name, 'made');
    const unfinished = join(output, `.${name}`);
    rmSync(unfinished, { recursive: true, force: true });
    mkdirSync(unfinished, { recursive: true });
    const context = { compiler, folder: unfinished, scratch: unfinished, from: [], holdout: [], signal, onProgress };
    await buildModel(request, context);
    renameSync(unfinished, folder);
  }
}
