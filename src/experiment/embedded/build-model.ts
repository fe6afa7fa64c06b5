/** Makes a model of the embedded task as a folder. */
import type { Compiler } from '../../engine/compiler.js';
import { openCheckpoint } from '../../model/checkpoint.js';
import { type LanguageModel, loadModel } from '../../model/language-model.js';
import { encodeExample } from '../../tokenizer/example.js';
import { saveTrainedModel } from '../../training/save.js';
import { trainModel } from '../../training/train.js';
import type { BuildContext, ModelRequest } from '../task.js';
import { tokenizer, tokenizerFiles } from './models.js';
import { trainFromRecipe } from './recipe.js';
import { HOLDOUT_TRAINING, readsHoldout, recipeOf } from './sources.js';

/** Errors: those of `recipeOf`; the signal's reason. */
export async function buildModel(request: ModelRequest, context: BuildContext): Promise<void> {
  const { compiler, folder } = context;
  const model = readsHoldout(request)
    ? await readHoldout(request, context)
    : await trainFromRecipe(compiler, recipeOf(request), context);
  try {
    // Half as large, so that all of them fit into the package.
    await saveTrainedModel(folder, model, { files: tokenizerFiles(), overwrite: true, dtype: 'F16' });
  } finally {
    model.dispose();
  }
}

/** The default proxy, trained on the holdout's traces. */
async function readHoldout(request: ModelRequest, context: BuildContext): Promise<LanguageModel> {
  const { compiler, from, holdout, signal, onProgress } = context;
  const model = await open(compiler, from[0]);
  try {
    const examples = holdout.map(({ question, text }) => ({
      id: question.id,
      ...encodeExample(tokenizer, { ...question.row, response: text } as { prompt: string; response: string }),
    }));
    await trainModel(
      model,
      examples,
      { ...HOLDOUT_TRAINING, seed: request.seed },
      { signal, onStep: ({ step, totalSteps }) => onProgress?.(step / totalSteps) },
    );
    signal?.throwIfAborted();
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  }
}

async function open(compiler: Compiler, location: string): Promise<LanguageModel> {
  const checkpoint = await openCheckpoint(location);
  try {
    return loadModel(compiler, checkpoint);
  } finally {
    checkpoint.dispose();
  }
}
