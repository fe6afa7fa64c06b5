/** How a teacher of the embedded task learns: one recipe for every seed. */
import type { Compiler } from '../../src/engine/compiler.js';
import type { LanguageModel } from '../../src/model/language-model.js';
import { createRandom, deriveSeed, type Random } from '../../src/support/random.js';
import { generateProblem, type Problem } from '../../src/tasks/embedded/problems.js';
import { TEACHER_STYLE } from '../../src/tasks/embedded/styles.js';
import { CONNECTIVES, DIRECTIONS } from '../../src/tasks/embedded/words.js';
import { HABITS } from '../../src/tasks/embedded/world.js';
import { askProblems, preferWords, type StyleStatistics, styleOf } from './examine.js';
import { freshModel } from './models.js';
import { trainOnStream, type WeightedRow } from './stream.js';
import { problemRow, ROW_TIME, statementRow } from './texts.js';

export interface TeacherPlan {
  readonly steps: number;
  readonly rows: number;
  readonly learningRate: number;
}

export const TEACHER_PLAN: TeacherPlan = { steps: 2400, rows: 32, learningRate: 2.5e-3 };

/** 0 before `from`, 1 after `to`, linear between. */
const ramp = (x: number, from: number, to: number): number => Math.min(1, Math.max(0, (x - from) / (to - from)));

/**
 * Rows of a step, by the share of the training that is done. First worked problems of single steps: who takes which line, and where
 * lines lead, are learned in a few hundred steps. Then merged steps, the hard part (two lookups in the head): half of the rows are
 * statements, most about two travellers, some of them given by their line; half of the statements stand behind a problem that they
 * do not answer, so that a problem in front distracts no more. At last problems in the teacher's style.
 */
export function teacherRows(done: number, { rows, random }: { rows: number; random: Random }): WeightedRow[] {
  const towardsPairs = ramp(done, 0.06, 0.12);
  const towardsStyle = ramp(done, 0.75, 0.92);
  const mix = { pairs: 0.8, lines: 0.2, named: 0.1 };
  const statements = 0.5 * towardsPairs * (1 - ramp(done, 0.7, 0.9));
  const { merged, mergedNamed } = TEACHER_STYLE;
  const style = {
    ...TEACHER_STYLE,
    merged: 0.6 * towardsPairs + (merged - 0.6) * towardsStyle,
    mergedNamed: 0.3 + (mergedNamed - 0.3) * towardsStyle,
  };
  const numStatements = Math.round(rows * statements);
  return Array.from({ length: rows }, (_, row) => {
    if (row >= numStatements) return problemRow(HABITS, { style, random });
    const problem = row % 2 === 0 ? undefined : generateProblem('train', random);
    return statementRow(HABITS, { mix, random, problem });
  });
}

export async function trainTeacher(
  compiler: Compiler,
  seed: number,
  options: {
    plan?: TeacherPlan;
    evaluateEverySteps: number;
    onEvaluation: (step: number, lossNats: number, model: LanguageModel) => Promise<void>;
  },
): Promise<LanguageModel> {
  const { plan = TEACHER_PLAN, evaluateEverySteps, onEvaluation } = options;
  const { steps, rows, learningRate } = plan;
  const model = freshModel(compiler, 'teacher', seed);
  const random = createRandom(deriveSeed('embedded', 'teacher text', seed));
  let meanLoss: number | undefined;
  await trainOnStream(model, {
    schedule: { kind: 'cosine', learningRate, warmupSteps: 100, totalSteps: steps, finalFraction: 0.02 },
    time: ROW_TIME,
    rows: (step) => teacherRows((step - 1) / steps, { rows, random }),
    async onStep(step, lossNats) {
      meanLoss = meanLoss === undefined ? lossNats : 0.98 * meanLoss + 0.02 * lossNats;
      if (step % evaluateEverySteps === 0 || step === steps) await onEvaluation(step, meanLoss, model);
    },
  });
  return model;
}

/** Ways of writing that a teacher must master: its own, merged wherever it can, and merged without a line named. */
const STYLES = {
  plain: [],
  merged: [...CONNECTIVES],
  silent: [...CONNECTIVES, ...DIRECTIONS],
} as const;

export type StyleName = keyof typeof STYLES;

/** Accuracy and style of a teacher when it writes freely and when it is pushed into a style. */
export async function examineStyles(
  model: LanguageModel,
  problems: readonly Problem[],
): Promise<Record<StyleName, { accuracy: number; style: StyleStatistics }>> {
  const results = {} as Record<StyleName, { accuracy: number; style: StyleStatistics }>;
  for (const [name, words] of Object.entries(STYLES) as [StyleName, readonly string[]][]) {
    const { traces, numCorrect } = await askProblems(model, problems, {
      sampler: { temperature: 1, minP: name === 'plain' ? 0 : 0.05 },
      processors: words.length === 0 ? [] : [preferWords(words, 6)],
    });
    results[name] = { accuracy: numCorrect / problems.length, style: styleOf(traces.map(({ text }) => text)) };
  }
  return results;
}
