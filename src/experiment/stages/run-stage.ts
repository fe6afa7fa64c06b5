/** What runs each kind of stage. */
import type { AnyStage, Stage, StageKind, StageResults } from '../stage.js';
import type { StageContext } from './context.js';
import { runCost } from './cost.js';
import { runEvaluation } from './evaluation.js';
import { runModel } from './model.js';
import { runProxy } from './proxy.js';
import { runShown } from './shown.js';
import { runStrength } from './strength.js';
import { runStudent } from './student.js';
import { runTraces } from './traces.js';

type Runners = { readonly [K in StageKind]: (stage: Stage<K>, context: StageContext) => Promise<StageResults[K]> };

const RUNNERS: Runners = {
  model: runModel,
  traces: runTraces,
  proxy: runProxy,
  strength: runStrength,
  student: runStudent,
  evaluation: runEvaluation,
  shown: runShown,
  cost: runCost,
};

/** Runs a stage in the process at hand. Errors: AzeotropeError where its data or models are at fault; the signal's reason. */
export function runStage(stage: AnyStage, context: StageContext): Promise<StageResults[StageKind]> {
  const run = RUNNERS[stage.kind] as (stage: AnyStage, context: StageContext) => Promise<StageResults[StageKind]>;
  return run(stage, context);
}
