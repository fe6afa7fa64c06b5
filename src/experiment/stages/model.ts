/** A model that the task makes as a part of the run. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Stage, StageResults } from '../stage.js';
import type { StageContext } from './context.js';
import { readResponses } from './traces.js';

/** Folder of the model in the stage's folder. */
export const builtModelFolder = (stageFolder: string): string => join(stageFolder, 'model');

export async function runModel(stage: Stage<'model'>, context: StageContext): Promise<StageResults['model']> {
  const { inputs, models, needs } = stage;
  const from = Object.keys(models)
    .sort((a, b) => Number(a.slice('from'.length)) - Number(b.slice('from'.length)))
    .map((name) => context.locationOf(models[name]));
  const to = needs.holdout === undefined ? 0 : context.resultOf<'traces'>(needs.holdout).total;
  const folder = builtModelFolder(context.folder);
  for (const path of [folder, context.scratch]) mkdirSync(path, { recursive: true });
  await context.task.buildModel(inputs.request, {
    compiler: context.compiler,
    folder,
    scratch: context.scratch,
    from,
    holdout: to === 0 ? [] : await readResponses(context, { id: needs.holdout, purpose: 'holdout', to }),
    signal: context.signal,
    onProgress: context.onProgress,
    log: context.log,
  });
  context.signal.throwIfAborted();
  return {};
}
