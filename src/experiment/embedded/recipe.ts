/** A model that is made from a seed and texts. */
import type { Compiler } from '../../engine/compiler.js';
import type { LanguageModel } from '../../model/language-model.js';
import type { TrainingExample } from '../../training/batches.js';
import type { Schedule } from '../../training/schedule.js';
import type { Role } from '../task.js';
import { freshModel } from './models.js';
import { trainOnStream } from './stream.js';
import { ROW_TIME } from './texts.js';

export interface Recipe {
  readonly role: Role;
  readonly seed: number;
  readonly schedule: Schedule;
  readonly rowsPerStep: number;
  /** What else decides the rows, as JSON. */
  readonly settings: unknown;
  /** Begins the text anew; returns the rows of steps 1, 2 …, to be called once each in this order. */
  start(): (step: number) => TrainingExample[];
}

export interface TrainingWatch {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((doneFraction: number) => void) | undefined;
}

/** Tokens computed in all, padding included. */
export const tokensOf = ({ schedule, rowsPerStep }: Recipe): number => schedule.totalSteps * rowsPerStep * ROW_TIME;

/** Makes the model of a recipe; the caller disposes of it. Errors: the signal's reason. */
export async function trainFromRecipe(
  compiler: Compiler,
  recipe: Recipe,
  { signal, onProgress }: TrainingWatch = {},
): Promise<LanguageModel> {
  const { role, seed, schedule } = recipe;
  const model = freshModel(compiler, role, seed);
  try {
    await trainOnStream(model, {
      schedule,
      time: ROW_TIME,
      rows: recipe.start(),
      onStep: (step) => onProgress?.(step / schedule.totalSteps),
      signal,
    });
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}
