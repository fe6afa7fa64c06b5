/**
 * Makes the checkpoints of the embedded task from their seeds:
 *
 *     node --import tsx recipes/embedded/train-models.ts --output DIR [--teachers 1,2,3] [--proxies 1,2,3] [--students 1,2,3]
 *
 * Folders that are there already are left as they are. A JSON line is printed for each evaluation.
 */
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { createCompiler } from '../../src/engine/compiler.js';
import { openRuntime } from '../../src/engine/runtime/open.js';
import type { LanguageModel } from '../../src/model/language-model.js';
import { generateProblems } from '../../src/tasks/embedded/problems.js';
import { REPORT_STYLE, TEACHER_STYLE } from '../../src/tasks/embedded/styles.js';
import { saveTrainedModel } from '../../src/training/save.js';
import { askProblems, styleOf } from './examine.js';
import { folderOf, type Role, tokenizerFiles } from './models.js';
import { trainBase } from './train-base.js';
import { examineStyles, TEACHER_PLAN, trainTeacher } from './train-teacher.js';

const { values } = parseArgs({
  options: {
    output: { type: 'string' },
    teachers: { type: 'string', default: '1,2,3' },
    proxies: { type: 'string', default: '1,2,3' },
    students: { type: 'string', default: '1,2,3' },
    /** Style of the text that proxies and students read. */
    style: { type: 'string', default: 'report' },
    steps: { type: 'string' },
    'base-steps': { type: 'string' },
    'learning-rate': { type: 'string' },
    every: { type: 'string', default: '600' },
    threads: { type: 'string', default: '1' },
  },
});
if (values.output === undefined) throw new Error('--output is missing: name a folder for the checkpoints.');
const root = values.output;

/** Reports name few lines; texts in the teacher's own style, and those that always explain, are controls. */
const STYLES = {
  report: REPORT_STYLE,
  equal: TEACHER_STYLE,
  explicit: { ...TEACHER_STYLE, merged: 0.05, mergedNamed: 0.9 },
};
const style = STYLES[values.style as keyof typeof STYLES];
if (style === undefined) throw new Error(`--style ${values.style}: expected ${Object.keys(STYLES).join(', ')}.`);

const seedsOf = (list: string): number[] => list.split(',').filter(Boolean).map(Number);
const compiler = createCompiler(openRuntime({ threads: Number(values.threads) }));
const validation = generateProblems(300, 'validation', 1);
const startMs = performance.now();
const tell = (facts: object): void =>
  console.log(
    JSON.stringify({
      ...facts,
      wallSeconds: Math.round((performance.now() - startMs) / 1000),
      cpuSeconds: Math.round(process.cpuUsage().user / 1e6),
    }),
  );

async function make(role: Role, seed: number, train: () => Promise<LanguageModel>): Promise<void> {
  const folder = folderOf(root, role, { seed, style: role === 'teacher' ? undefined : values.style });
  if (existsSync(folder)) return;
  const model = await train();
  await saveTrainedModel(folder, model, { files: tokenizerFiles() });
  model.dispose();
}

for (const seed of seedsOf(values.teachers)) {
  await make('teacher', seed, () =>
    trainTeacher(compiler, seed, {
      plan: {
        ...TEACHER_PLAN,
        ...(values.steps && { steps: Number(values.steps) }),
        ...(values['learning-rate'] && { learningRate: Number(values['learning-rate']) }),
      },
      evaluateEverySteps: Number(values.every),
      async onEvaluation(step, lossNats, model) {
        const styles = Object.entries(await examineStyles(model, validation)).map(([name, result]) => [
          name,
          [
            result.accuracy,
            result.style.stepsRightFraction,
            result.style.namedRightFraction,
            result.style.mergedPerTrace,
            result.style.mergedNamedFraction,
          ],
        ]);
        tell({ teacher: seed, step, lossNats: Number(lossNats.toFixed(4)), ...Object.fromEntries(styles) });
      },
    }),
  );
}
for (const role of ['proxy', 'student'] as const) {
  for (const seed of seedsOf(role === 'proxy' ? values.proxies : values.students)) {
    await make(role, seed, async () => {
      const { model, lossNats } = await trainBase(compiler, {
        role,
        seed,
        style,
        ...(values['base-steps'] && { steps: Number(values['base-steps']) }),
      });
      const { traces, numCorrect } = await askProblems(model, validation, { sampler: { temperature: 1 } });
      const accuracy = numCorrect / validation.length;
      tell({ [role]: seed, lossNats, accuracy, style: styleOf(traces.map(({ text }) => text)) });
      return model;
    });
  }
}
compiler.dispose();
compiler.runtime.dispose();
