/** Where the models of the embedded task come from: folders that are there, or the recipes that make them. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '../../support/errors.js';
import { sha256 } from '../../support/hash.js';
import { didYouMean } from '../../support/suggest.js';
import { REPORT_STYLE, TEACHER_STYLE, type TraceStyle } from '../../tasks/embedded/styles.js';
import { trainingSchema } from '../../training/config.js';
import type { ModelRequest, ModelSource } from '../task.js';
import { configOf, folderNameOf } from './models.js';
import { type Recipe, tokensOf } from './recipe.js';
import { ROW_TIME } from './texts.js';
import { baseRecipe } from './train-base.js';
import { teacherRecipe } from './train-teacher.js';

/** Checkpoints that the package brings along. */
export const SHIPPED_MODELS = fileURLToPath(new URL('../../../checkpoints/embedded', import.meta.url));

const WEIGHTS = 'model.safetensors';
/** Raised when recipes make other weights than before from the same settings. */
const RECIPE_VERSION = 1;

/** Texts that bases read. A proxy that is no terser than the teacher is a control: what its Δ prefers is left to chance. */
const STYLES: Readonly<Record<string, TraceStyle>> = {
  default: REPORT_STYLE,
  equal: TEACHER_STYLE,
  explicit: { ...TEACHER_STYLE, merged: 0.05, mergedNamed: 0.9 },
};

/** The kind of proxy that has read the holdout. */
const HOLDOUT = 'holdout';

export const PROXY_KINDS: Readonly<Record<string, string>> = {
  equal: 'has read text in the teacher’s own style',
  explicit: 'has read text that names lines more often than the teacher does',
  [HOLDOUT]: 'the default proxy, trained on the holdout traces',
};

/** How the proxy of the kind `holdout` is trained on them. */
export const HOLDOUT_TRAINING = trainingSchema.parse({
  epochs: 4,
  batchSize: 32,
  precision: 'float32',
  learningRate: 2e-3,
  weightDecay: 0.01,
  beta2: 0.98,
  checkpointEverySteps: 0,
});

/** The recipe of a model that is made from nothing but a seed. Errors: ConfigError for kinds that there are not. */
export function recipeOf({ role, kind, seed }: ModelRequest): Recipe {
  if (role === 'teacher') {
    if (kind === 'default') return teacherRecipe(seed);
    throw new ConfigError(`The embedded task has no teacher of the kind '${kind}', only 'default'.`);
  }
  const style = STYLES[kind];
  if (style !== undefined && (role === 'proxy' || kind === 'default')) return baseRecipe(role, seed, style);
  const kinds = role === 'proxy' ? ['default', ...Object.keys(PROXY_KINDS)] : ['default'];
  throw new ConfigError(
    `The embedded task has no ${role} of the kind '${kind}', only ${kinds.join(', ')}.${didYouMean(kind, kinds)}`,
  );
}

export const readsHoldout = ({ role, kind }: ModelRequest): boolean => role === 'proxy' && kind === HOLDOUT;

/** The proxy before it reads the holdout. */
const untrained = (request: ModelRequest): ModelRequest => ({ ...request, kind: 'default' });

/** Where the model of a request comes from, given the folder of those that are there. Errors: ConfigError for unknown kinds. */
export function sourceOf(request: ModelRequest, models: string): ModelSource {
  if (readsHoldout(request)) {
    const { seed: _seed, ...recipe } = HOLDOUT_TRAINING;
    return {
      kind: 'build',
      recipe: [RECIPE_VERSION, recipe],
      from: [untrained(request)],
      usesHoldout: true,
      // As many traces as the default holdout has; only a plan's guess.
      work: { trained: [{ model: request, tokens: HOLDOUT_TRAINING.epochs * 500 * ROW_TIME }] },
    };
  }
  const recipe = recipeOf(request);
  const location = join(models, folderNameOf(request));
  const weights = join(location, WEIGHTS);
  if (existsSync(weights)) return { kind: 'ready', location, identity: sha256(readFileSync(weights)) };
  const { role, schedule, rowsPerStep, settings } = recipe;
  return {
    kind: 'build',
    recipe: [RECIPE_VERSION, configOf(role), schedule, rowsPerStep, settings],
    from: [],
    usesHoldout: false,
    work: { trained: [{ model: request, tokens: tokensOf(recipe) }] },
  };
}
