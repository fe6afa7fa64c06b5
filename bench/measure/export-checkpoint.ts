/** A model file as a float32 Hugging Face folder, for peers that read no other. */
import { openModel } from '../../src/jobs/open-model.js';
import { saveTrainedModel } from '../../src/training/save.js';
import { withCompiler } from './session.js';

export function measure({ model: path, folder }: { model: string; folder: string }): Promise<object> {
  return withCompiler(1, async (compiler) => {
    const { model } = await openModel(path, { compiler });
    await saveTrainedModel(folder, model);
    model.dispose();
    return { folder };
  });
}
