/** Proxies and students before they see the teacher: they know the language and the map, and nobody's line. */
import type { Compiler } from '../../src/engine/compiler.js';
import type { LanguageModel } from '../../src/model/language-model.js';
import { createRandom, deriveSeed } from '../../src/support/random.js';
import type { TraceStyle } from '../../src/tasks/embedded/styles.js';
import { HABITS, randomHabits } from '../../src/tasks/embedded/world.js';
import { freshModel, type Role } from './models.js';
import { trainOnStream } from './stream.js';
import { problemRow, ROW_TIME, statementRow } from './texts.js';

const STEPS = 600;
const REPORTS = 40;
const TIMETABLES = 8;
/** Timetables say where lines lead: `at dock red-line to well .` */
const TIMETABLE = { pairs: 0, lines: 1, named: 0 };
const LEARNING_RATE = 3e-3;

/** Reads reports of journeys, in each of which people take lines at random, and timetables. */
export async function trainBase(
  compiler: Compiler,
  { role, seed, style, steps = STEPS }: { role: Role; seed: number; style: TraceStyle; steps?: number },
): Promise<{ model: LanguageModel; lossNats: number }> {
  const model = freshModel(compiler, role, seed);
  const random = createRandom(deriveSeed('embedded', 'reports', role, seed));
  let report = 0;
  let meanLoss = 0;
  await trainOnStream(model, {
    schedule: { kind: 'cosine', learningRate: LEARNING_RATE, warmupSteps: 50, totalSteps: steps, finalFraction: 0.03 },
    time: ROW_TIME,
    rows: () => {
      const reports = Array.from({ length: REPORTS }, () => {
        report += 1;
        return problemRow(randomHabits(deriveSeed('embedded', role, seed, report)), { style, random });
      });
      const timetables = Array.from({ length: TIMETABLES }, () => statementRow(HABITS, { mix: TIMETABLE, random }));
      return [...reports, ...timetables];
    },
    onStep(step, lossNats) {
      meanLoss = step === 1 ? lossNats : 0.98 * meanLoss + 0.02 * lossNats;
    },
  });
  return { model, lossNats: meanLoss };
}
