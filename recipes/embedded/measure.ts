/**
 * What a student learns from one teacher under each sampler:
 *
 *     node --import tsx recipes/embedded/measure.ts --models DIR [--teacher 1] [--proxy 1] [--students 1,2,3]
 *         [--arms temperature:1,antidistillation:0.2,…] [--split validation] [--epochs 6]
 *
 * A JSON line for each student. Arms: `temperature:τ`, `masked:τ` (its support bounded), `antidistillation:nats`, `permutation:nats`
 * (the λ that costs antidistillation so much), `whiteBox:nats` (the proxy is the student's base), `rule:name`, `greedy`.
 */
import { parseArgs } from 'node:util';
import { createCompiler } from '../../src/engine/compiler.js';
import { openRuntime } from '../../src/engine/runtime/open.js';
import { createDefence, type Defence } from '../../src/methods/antidistillation/defence.js';
import { openCheckpoint } from '../../src/model/checkpoint.js';
import { type LanguageModel, loadModel } from '../../src/model/language-model.js';
import { generateProblems, type Split } from '../../src/tasks/embedded/problems.js';
import { trainingSchema } from '../../src/training/config.js';
import { trainModel } from '../../src/training/train.js';
import {
  examplesOf,
  gradientOf,
  maskedTemperature,
  meanKlNats,
  type RULES,
  rule,
  type Sampling,
  sampleHoldout,
  strengthOf,
  tilted,
} from './arms.js';
import { askProblems, examineModel, styleOf } from './examine.js';
import { copyOf, folderOf, type Role } from './models.js';

const DEFAULT_ARMS =
  'temperature:1,masked:1,masked:2,antidistillation:0.05,antidistillation:0.1,antidistillation:0.2,permutation:0.2,rule:and,rule:connectives,rule:silence,greedy';

const { values } = parseArgs({
  options: {
    models: { type: 'string' },
    teacher: { type: 'string', default: '1' },
    proxy: { type: 'string', default: '1' },
    students: { type: 'string', default: '1,2,3' },
    'proxy-style': { type: 'string', default: 'report' },
    arms: { type: 'string', default: DEFAULT_ARMS },
    split: { type: 'string', default: 'validation' },
    traces: { type: 'string', default: '4000' },
    epochs: { type: 'string', default: '6' },
    'learning-rate': { type: 'string', default: '8e-3' },
    'batch-size': { type: 'string', default: '32' },
    threads: { type: 'string', default: '1' },
  },
});
if (values.models === undefined) throw new Error('--models is missing: name the folder of the checkpoints.');
const root = values.models;
const compiler = createCompiler(openRuntime({ threads: Number(values.threads) }));

async function load(role: Role, seed: number): Promise<LanguageModel> {
  const style = { teacher: undefined, proxy: values['proxy-style'], student: 'report' }[role];
  const checkpoint = await openCheckpoint(folderOf(root, role, { seed, style }));
  try {
    return loadModel(compiler, checkpoint);
  } finally {
    checkpoint.dispose();
  }
}

const startMs = performance.now();
const tell = (facts: object): void => console.log(JSON.stringify(facts));
const fraction = (part: number, whole: number): number => Number((part / whole).toFixed(4));
const secondsSince = (fromMs: number): number => Number(((performance.now() - fromMs) / 1000).toFixed(1));

const problems = generateProblems(300, values.split as Split, 5);
const prompts = generateProblems(Number(values.traces), 'distil', 77);
const teacher = await load('teacher', Number(values.teacher));
const proxy = await load('proxy', Number(values.proxy));
const studentSeeds = values.students.split(',').map(Number);
const bases = new Map<number, LanguageModel>();
for (const seed of studentSeeds) bases.set(seed, await load('student', seed));

const holdout = await sampleHoldout(teacher);
const defences: Defence[] = [];
async function defenceOf(model: LanguageModel, permuted = false): Promise<{ defence: Defence; initial: number }> {
  const artefact = await gradientOf(model, holdout);
  const defence = createDefence(model, artefact, { estimator: 'central', permuted });
  defences.push(defence);
  const size = [...artefact.gradient.values()].reduce((sum, { length }) => sum + length, 0);
  // Δ of a gradient of unit root mean square is some thousand nats.
  return { defence, initial: 1e-3 / (artefact.gradientNorm / Math.sqrt(size)) };
}
const strengths = new Map<string, { defence: Defence; lambda: number; isReached: boolean }>();
async function strengthAt(key: string, model: LanguageModel, budgetNats: number) {
  const name = `${key}/${budgetNats}`;
  const known = strengths.get(name);
  if (known !== undefined) return known;
  const { defence, initial } = await defenceOf(model);
  const { lambda, isReached } = await strengthOf(teacher, defence, { budgetNats, initial });
  const made = { defence, lambda, isReached };
  strengths.set(name, made);
  return made;
}

/** How an arm samples; of a white-box arm, for a student. */
async function samplingOf(kind: string, value: string, seed: number): Promise<{ sampling: Sampling; lambda?: number }> {
  const number = Number(value);
  if (kind === 'temperature') return { sampling: { sampler: { temperature: number } } };
  if (kind === 'masked') return { sampling: maskedTemperature(number) };
  if (kind === 'greedy') return { sampling: { sampler: { temperature: 0 } } };
  if (kind === 'rule') return { sampling: rule(value as keyof typeof RULES) };
  const isWhiteBox = kind === 'whiteBox';
  const { defence, lambda } = await strengthAt(
    isWhiteBox ? `student ${seed}` : 'proxy',
    isWhiteBox ? bases.get(seed)! : proxy,
    number,
  );
  if (kind !== 'permutation') return { sampling: tilted(defence, lambda), lambda };
  return { sampling: tilted((await defenceOf(proxy, true)).defence, lambda), lambda };
}

tell({ stage: 'holdout', seconds: secondsSince(startMs) });
for (const seed of studentSeeds) {
  const { greedy, explicit } = await examineModel(bases.get(seed)!, problems);
  tell({
    arm: 'undistilled',
    seed,
    student: fraction(greedy.numCorrect, 300),
    explicit: fraction(explicit.numCorrect, 300),
  });
}
for (const arm of values.arms.split(',')) {
  const [kind, value = ''] = arm.split(':');
  let traces: Awaited<ReturnType<typeof askProblems>> | undefined;
  let lambda: number | undefined;
  for (const seed of studentSeeds) {
    const calibrationMs = performance.now();
    if (traces === undefined || kind === 'whiteBox') {
      const arm = await samplingOf(kind, value, seed);
      lambda = arm.lambda;
      traces = await askProblems(teacher, prompts, { ...arm.sampling, seed: 154 });
    }
    const style = styleOf(traces.traces.map(({ text }) => text));
    const tracesSeconds = secondsSince(calibrationMs);
    const trainingMs = performance.now();
    const student = copyOf(bases.get(seed)!);
    const config = trainingSchema.parse({
      epochs: Number(values.epochs),
      batchSize: Number(values['batch-size']),
      microBatchTokens: 2048,
      learningRate: Number(values['learning-rate']),
      weightDecay: 0.01,
      beta2: 0.98,
      finalFraction: 0.05,
      seed,
    });
    const { lossNats } = await trainModel(student, examplesOf(traces.traces), config);
    const trainingSeconds = secondsSince(trainingMs);
    const { greedy, explicit } = await examineModel(student, problems);
    student.dispose();
    tell({
      arm,
      seed,
      teacherSeed: Number(values.teacher),
      proxySeed: Number(values.proxy),
      proxyStyle: values['proxy-style'],
      epochs: Number(values.epochs),
      teacher: fraction(traces.numCorrect, prompts.length),
      student: fraction(greedy.numCorrect, problems.length),
      explicit: fraction(explicit.numCorrect, problems.length),
      lambda,
      meanKlNats: Number(meanKlNats(traces).toFixed(4)),
      lossNats,
      traces: style,
      explicitStyle: styleOf(explicit.traces.map(({ text }) => text)),
      studentStyle: styleOf(greedy.traces.map(({ text }) => text)),
      tracesSeconds,
      trainingSeconds,
      totalSeconds: secondsSince(startMs),
    });
  }
}
for (const defence of defences) defence.dispose();
for (const model of [teacher, proxy, ...bases.values()]) model.dispose();
compiler.dispose();
compiler.runtime.dispose();
