/** A model moved along the gradient: what the difference estimators compare. */
import { deriveModel, type LanguageModel } from '../../model/language-model.js';
import { invariant } from '../../support/errors.js';

/**
 * θ + step·g in float32: parameters of its own (dispose of it), the same compiler and architecture key, so that it shares every
 * session with `model`. In 16 bits the step would round to nothing. A parameter without a gradient stays where it is.
 */
export function perturbedModel(
  model: LanguageModel,
  gradient: ReadonlyMap<string, Float32Array>,
  step: number,
): LanguageModel {
  return deriveModel(model, (name, source, into) => {
    const direction = gradient.get(name);
    invariant(direction === undefined || direction.length === source.length, `the gradient of ${name} does not fit it`);
    if (direction === undefined) into.set(source);
    else for (let index = 0; index < into.length; index++) into[index] = source[index] + step * direction[index];
  });
}
