import type { RunConfig } from './config.js';
import type { OpenTaskOptions, Task } from './task.js';

/** The task of a run. Errors: ConfigError, DataError where its files are missing or wrong. */
export async function openTask(config: RunConfig['task'], options?: OpenTaskOptions): Promise<Task> {
  switch (config.kind) {
    case 'embedded':
      return (await import('./embedded/task.js')).openEmbeddedTask(config);
    case 'dataset':
      return (await import('./dataset/task.js')).openDatasetTask(config, options);
  }
}
