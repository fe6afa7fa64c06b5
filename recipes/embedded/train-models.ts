/**
 * Trains the models of the embedded task from seeds: `node --import tsx recipes/embedded/train-models.ts --output DIR`.
 */
import { parseArgs } from 'node:util';
import { createCompiler } from '../../src/engine/compiler.js';
import { openRuntime } from '../../src/engine/runtime/open.js';
import type { LanguageModel } from '../../src/model/language-model.js';
import { countParameters } from '../../src/model/parameters.js';
import { createRandom, deriveSeed } from '../../src/support/random.js';
import { generateProblem, generateProblems } from '../../src/tasks/embedded/problems.js';
import { TEACHER_STYLE } from '../../src/tasks/embedded/styles.js';
import { CONNECTIVES } from '../../src/tasks/embedded/words.js';
import { HABITS } from '../../src/tasks/embedded/world.js';
import { askProblems, examineModel, preferWords, styleOf } from './examine.js';
import { configOf, freshModel } from './models.js';
import { trainOnStream } from './stream.js';
import { problemRow, ROW_TIME, statementRow } from './texts.js';

const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '4000' },
    seed: { type: 'string', default: '1' },
    rows: { type: 'string', default: '64' },
    rate: { type: 'string', default: '3e-3' },
    threads: { type: 'string', default: '1' },
    every: { type: 'string', default: '500' },
  },
});
const totalSteps = Number(values.steps);
const seed = Number(values.seed);
const numRows = Number(values.rows);
const compiler = createCompiler(openRuntime({ threads: Number(values.threads) }));
const model = freshModel(compiler, 'teacher', seed);
console.log(
  countParameters(configOf('teacher')),
  countParameters(configOf('proxy')),
  countParameters(configOf('student')),
);
const validation = generateProblems(300, 'validation', 1);
const random = createRandom(deriveSeed('stream', seed));

async function report(step: number, startMs: number, lossNats: number, m: LanguageModel): Promise<void> {
  const plain = await askProblems(m, validation, { sampler: { temperature: 1 } });
  const minP = 0.05;
  const merged = await askProblems(m, validation, {
    sampler: { temperature: 1, minP },
    processors: [preferWords(CONNECTIVES, 6)],
  });
  const hidden = await askProblems(m, validation, {
    sampler: { temperature: 1, minP },
    processors: [preferWords([...CONNECTIVES, '.'], 6)],
  });
  const s = styleOf(plain.traces.map(({ text }) => text));
  const ms = styleOf(merged.traces.map(({ text }) => text));
  const hs = styleOf(hidden.traces.map(({ text }) => text));
  console.log(
    step,
    lossNats.toFixed(4),
    'plain',
    plain.numCorrect / 300,
    s.stepsRightFraction,
    s.namedRightFraction,
    s.mergedPerTrace,
    '| merged',
    merged.numCorrect / 300,
    ms.stepsRightFraction,
    ms.mergedPerTrace,
    '| hidden',
    hidden.numCorrect / 300,
    hs.stepsRightFraction,
    hs.mergedPerTrace,
    hs.mergedNamedFraction,
    `${((performance.now() - startMs) / 1000).toFixed(0)} s cpu ${(process.cpuUsage().user / 1e6).toFixed(0)}`,
  );
}
const ramp = (x: number, from: number, to: number) => Math.min(1, Math.max(0, (x - from) / (to - from)));
const startMs = performance.now();
let run = 0;
await trainOnStream(model, {
  schedule: { kind: 'cosine', learningRate: Number(values.rate), warmupSteps: 100, totalSteps, finalFraction: 0.02 },
  time: ROW_TIME,
  rows(step) {
    const done = step / totalSteps;
    const late = ramp(done, 0.1, 0.4);
    const mix = { pairs: 0.5 + 0.4 * late, lines: 0.5 - 0.4 * late, named: 0.3 - 0.2 * late };
    const numStatements = Math.round(numRows * (0.75 - 0.5 * ramp(done, 0.3, 0.7) - 0.25 * ramp(done, 0.8, 0.9)));
    const final = ramp(done, 0.7, 0.9);
    const style = { ...TEACHER_STYLE, merged: 0.6 - 0.4 * final, mergedNamed: 0.3 + 0.3 * final };
    return Array.from({ length: numRows }, (_, row) => {
      if (row >= numStatements) return problemRow(HABITS, { style, random });
      const problem = row % 2 === 0 ? undefined : generateProblem('train', random);
      return statementRow(HABITS, { mix, random, problem });
    });
  },
  async onStep(step, lossNats) {
    run = step === 1 ? lossNats : 0.98 * run + 0.02 * lossNats;
    if (step % Number(values.every) === 0) await report(step, startMs, run, model);
  },
});
const test = await examineModel(model, validation);
console.log(test.greedy.numCorrect, test.explicit.numCorrect, test.greedy.durationMs);
console.log(
  test.greedy.traces
    .slice(0, 3)
    .map(({ text }) => text)
    .join('\n'),
);
compiler.dispose();
