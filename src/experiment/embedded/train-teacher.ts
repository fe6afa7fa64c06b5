/** How a teacher of the embedded task learns: one recipe for every seed. */
import { createRandom, deriveSeed, type Random } from '../../support/random.js';
import { generateProblem } from '../../tasks/embedded/problems.js';
import { TEACHER_STYLE } from '../../tasks/embedded/styles.js';
import { HABITS } from '../../tasks/embedded/world.js';
import type { TrainingExample } from '../../training/batches.js';
import type { Schedule } from '../../training/schedule.js';
import type { Recipe } from './recipe.js';
import { problemRow, statementRow } from './texts.js';

const STEPS = 2400;
const ROWS = 32;

const SCHEDULE: Schedule = {
  kind: 'cosine',
  learningRate: 2.5e-3,
  warmupSteps: 100,
  totalSteps: STEPS,
  finalFraction: 0.02,
};

/** Of statements. */
const MIX = { pairs: 0.8, lines: 0.2, named: 0.1 };
/** Style of problems while merged steps are learned. */
const PRACTICE = { merged: 0.6, mergedNamed: 0.3 };

export function teacherRecipe(seed: number): Recipe {
  return {
    role: 'teacher',
    seed,
    schedule: SCHEDULE,
    rowsPerStep: ROWS,
    settings: { mix: MIX, practice: PRACTICE, style: TEACHER_STYLE },
    start() {
      const random = createRandom(deriveSeed('embedded', 'teacher text', seed));
      return (step) => teacherRows((step - 1) / STEPS, random);
    },
  };
}

/** 0 before `from`, 1 after `to`, linear between. */
const ramp = (x: number, from: number, to: number): number => Math.min(1, Math.max(0, (x - from) / (to - from)));

/**
 * Rows of a step, by the share of the training that is done. First worked problems of single steps: who takes which line, and where
 * lines lead, are learned in a few hundred steps. Then merged steps, the hard part (two lookups in the head): half of the rows are
 * statements, most about two travellers, some of them given by their line; half of the statements stand behind a problem that they
 * do not answer, so that a problem in front distracts no more. At last problems in the teacher's style.
 */
export function teacherRows(doneFraction: number, random: Random): TrainingExample[] {
  const towardsPairs = ramp(doneFraction, 0.06, 0.12);
  const towardsStyle = ramp(doneFraction, 0.75, 0.92);
  const { merged, mergedNamed } = TEACHER_STYLE;
  const style = {
    ...TEACHER_STYLE,
    merged: PRACTICE.merged * towardsPairs + (merged - PRACTICE.merged) * towardsStyle,
    mergedNamed: PRACTICE.mergedNamed + (mergedNamed - PRACTICE.mergedNamed) * towardsStyle,
  };
  const statementFraction = 0.5 * towardsPairs * (1 - ramp(doneFraction, 0.7, 0.9));
  const numStatements = Math.round(ROWS * statementFraction);
  return Array.from({ length: ROWS }, (_, row) => {
    if (row >= numStatements) return problemRow(HABITS, { style, random });
    const problem = row % 2 === 0 ? undefined : generateProblem('train', random);
    return statementRow(HABITS, { mix: MIX, random, problem });
  });
}
