/** Models that a worker keeps between stages. */
import type { Compiler } from '../engine/compiler.js';
import { type OpenedModel, openModel } from '../jobs/open-model.js';

export interface ModelCache {
  /** A model that stays in memory while there is room for it. */
  open(location: string, signal: AbortSignal): Promise<OpenedModel>;
  /** Frees the models used longest ago while more than `maxBytes` are owned. Call it between stages. */
  trim(maxBytes: number): void;
  dispose(): void;
}

export function createModelCache(compiler: Compiler): ModelCache {
  /** Least recently used first. */
  const models = new Map<string, OpenedModel>();
  return {
    async open(location, signal) {
      const opened = models.get(location) ?? (await openModel(location, { compiler, signal }));
      models.delete(location);
      models.set(location, opened);
      return opened;
    },
    trim(maxBytes) {
      for (const [location, opened] of models) {
        if (compiler.runtime.ownedBytes <= maxBytes) return;
        models.delete(location);
        opened.dispose();
      }
    },
    dispose() {
      for (const opened of models.values()) opened.dispose();
      models.clear();
    },
  };
}
