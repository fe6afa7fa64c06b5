/** The students of a run: each the configuration with some values changed, and a name by all that decides its result. */
import type { GadConfig } from '../../methods/gad/config.js';
import { gadSchema } from '../../methods/gad/config.js';
import type { WhiteBoxConfig } from '../../methods/white-box-kd/config.js';
import { ConfigError } from '../../support/errors.js';
import { sha256OfJson } from '../../support/hash.js';
import { type TrainingConfig, trainingSchema } from '../../training/config.js';
import { type DistillConfig, distillSchema, METHODS, type Method, type Variant } from './config.js';

export interface PlannedStudent {
  readonly method: Method;
  readonly variant: string;
  readonly seed: number;
  readonly numTraces: number;
  readonly training: TrainingConfig;
  readonly whiteBox: WhiteBoxConfig;
  readonly gad: GadConfig;
  /** In what the variant differs from the run. */
  readonly set: Readonly<Record<string, unknown>>;
}

/** Only these may differ between students; the rest is the run's. */
const CHANGEABLE = ['training', 'whiteBox', 'gad', 'traces'];
/** Share of the steps on the student's own responses, where a gkd variant names none: that of the paper's experiments. */
const GKD_STUDENT_FRACTION = 0.5;

/**
 * Every student of the run, variant by variant. `methods` leaves out others; the sequence-level students stay, to be compared with. A
 * method that is asked for by name and has no variant gets a plain one.
 * Errors: ConfigError for a change of something that there is not.
 */
export function planStudents(config: DistillConfig, methods: readonly Method[]): PlannedStudent[] {
  const named = config.variants.filter(({ method }) => method === 'seqkd' || methods.includes(method));
  return [...named, ...plainVariants(config, methods)].flatMap((variant) => {
    const changed = applyVariant(config, variant);
    const whiteBox =
      variant.method === 'gkd' && changed.whiteBox.studentFraction === 0
        ? { ...changed.whiteBox, studentFraction: GKD_STUDENT_FRACTION }
        : changed.whiteBox;
    return (variant.seeds ?? config.seeds).map((seed) => ({
      method: variant.method,
      variant: variant.name,
      seed,
      numTraces: changed.traces.count,
      training: trainingSchema.parse({ ...changed.training, seed }),
      whiteBox,
      gad: gadSchema.parse({ ...changed.gad, seed }),
      set: variant.set,
    }));
  });
}

const PLAIN_NAMES: Readonly<Record<Method, string>> = {
  seqkd: 'SeqKD',
  'white-box-kd': 'white box',
  gkd: 'GKD',
  gad: 'GAD',
};

function plainVariants({ variants }: DistillConfig, methods: readonly Method[]): Variant[] {
  // All of them is what nobody chose.
  if (methods.length === METHODS.length) return [];
  const missing = methods.filter((method) => !variants.some((variant) => variant.method === method));
  return missing.map((method) => ({ method, name: PLAIN_NAMES[method], set: {} }));
}

/** What the result of a student depends on, as a short name. */
export const studentKey = (student: PlannedStudent, depends: Readonly<Record<string, unknown>>): string => {
  const { method, seed, numTraces, training, whiteBox, gad } = student;
  const settings = {
    seqkd: { training },
    'white-box-kd': { training, whiteBox },
    gkd: { training, whiteBox },
    gad: { gad, ...(training.lora && { lora: training.lora }) },
  };
  return `${method}-${sha256OfJson({ method, seed, numTraces, ...settings[method], ...depends }).slice(0, 16)}`;
};

function applyVariant(config: DistillConfig, { name, set }: Variant): DistillConfig {
  const changed = structuredClone(config) as unknown as Record<string, unknown>;
  for (const [place, value] of Object.entries(set)) {
    const path = place.split('.');
    const last = path.pop()!;
    let at: unknown = changed;
    for (const key of path) at = (at as Record<string, unknown> | undefined)?.[key];
    const isThere = typeof at === 'object' && at !== null && CHANGEABLE.includes(path[0] ?? '');
    if (!isThere)
      throw new ConfigError(
        `Variant '${name}': there is no ${place} to set. Places begin with ${CHANGEABLE.join(', ')}.`,
      );
    (at as Record<string, unknown>)[last] = value;
  }
  const result = distillSchema.safeParse(changed);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new ConfigError(`Variant '${name}': ${issue.path.join('.')}: ${issue.message}.`);
}
