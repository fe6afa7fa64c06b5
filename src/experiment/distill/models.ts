/** Models of a run: those that are there, and those that the task makes. */
import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Compiler } from '../../engine/compiler.js';
import { type OpenedModel, openModel } from '../../jobs/open-model.js';
import { ConfigError } from '../../support/errors.js';
import { sha256OfJson } from '../../support/hash.js';
import type { ModelRequest, Task } from '../task.js';

export interface RunModels {
  /** A model of the caller's own, to be trained; it disposes of it. */
  open(request: ModelRequest): Promise<OpenedModel>;
  /** Tells its weights apart. */
  identityOf(request: ModelRequest): Promise<string>;
}

/** Models that the task makes are kept in `<folder>/models`. */
export function createRunModels(
  task: Task,
  {
    compiler,
    folder,
    signal,
    log,
  }: { compiler: Compiler; folder: string; signal: AbortSignal; log: (message: string) => void },
): RunModels {
  const identityOf = async (request: ModelRequest): Promise<string> => {
    const source = await task.modelSource(request);
    if (source.kind === 'ready') return source.identity;
    const parts = [source.recipe, await Promise.all(source.from.map(identityOf))];
    return sha256OfJson(compiler.precision === 'float32' ? parts : [...parts, compiler.precision]);
  };
  const locate = async (request: ModelRequest): Promise<string> => {
    const source = await task.modelSource(request);
    if (source.kind === 'ready') return source.location;
    if (source.usesHoldout)
      throw new ConfigError(
        `A ${request.role} of the kind '${request.kind}' needs holdout traces, which a distillation run does not make.`,
      );
    const target = join(folder, 'models', (await identityOf(request)).slice(0, 16));
    if (existsSync(target)) return target;
    const from: string[] = [];
    for (const each of source.from) from.push(await locate(each));
    log(`Makes the ${request.role} ${request.seed}.`);
    const unfinished = join(folder, 'models', `.${request.role}-${request.seed}`);
    const scratch = join(unfinished, 'scratch');
    const made = join(unfinished, 'model');
    for (const path of [scratch, made]) await mkdir(path, { recursive: true });
    await task.buildModel(request, { compiler, folder: made, scratch, from, holdout: [], signal, log });
    signal.throwIfAborted();
    await rename(made, target);
    await rm(unfinished, { recursive: true });
    return target;
  };
  return { identityOf, open: async (request) => openModel(await locate(request), { compiler, signal }) };
}
