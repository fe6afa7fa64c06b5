/** Proxies and students before they see the teacher: they know the language and the map, and nobody's line. */
import { createRandom, deriveSeed } from '../../support/random.js';
import type { TraceStyle } from '../../tasks/embedded/styles.js';
import { HABITS, randomHabits } from '../../tasks/embedded/world.js';
import type { Schedule } from '../../training/schedule.js';
import type { Recipe } from './recipe.js';
import { problemRow, statementRow } from './texts.js';

const STEPS = 600;
const REPORTS = 40;
const TIMETABLES = 8;
/** Timetables say where lines lead: `at dock red-line to well .` */
const TIMETABLE = { pairs: 0, lines: 1, named: 0 };

const SCHEDULE: Schedule = {
  kind: 'cosine',
  learningRate: 3e-3,
  warmupSteps: 50,
  totalSteps: STEPS,
  finalFraction: 0.03,
};

/** A base reads reports of journeys, in each of which people take lines at random, and timetables. */
export function baseRecipe(role: 'proxy' | 'student', seed: number, style: TraceStyle): Recipe {
  return {
    role,
    seed,
    schedule: SCHEDULE,
    rowsPerStep: REPORTS + TIMETABLES,
    settings: { reports: REPORTS, timetable: TIMETABLE, style },
    start() {
      const random = createRandom(deriveSeed('embedded', 'reports', role, seed));
      let numReports = 0;
      const report = () => {
        numReports += 1;
        return problemRow(randomHabits(deriveSeed('embedded', role, seed, numReports)), { style, random });
      };
      return () => {
        const reports = Array.from({ length: REPORTS }, report);
        const timetables = Array.from({ length: TIMETABLES }, () => statementRow(HABITS, { mix: TIMETABLE, random }));
        return [...reports, ...timetables];
      };
    },
  };
}
