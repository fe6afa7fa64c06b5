/** Invented records of a distillation run. */
import type { DistillRecords } from '../experiment/distill/record-book.js';
import type { DistillDetails, DistillRow, StudentDetails } from '../experiment/distill/records.js';

type Step = StudentDetails['steps'][number];

export const inventSteps = (count: number): Step[] =>
  Array.from({ length: count }, (_, index) => ({
    ...{ step: index + 1, phase: index < 10 ? ('warmup' as const) : ('adversarial' as const), epoch: 0 },
    ...{ rewardMean: 0.1 * index, teacherRewardMean: 1, groupRewardSpread: 0.2 },
    ...{ discriminatorLossNats: 0.6, discriminatorAccuracy: 0.7, discriminatorGradientNorm: 1 },
    ...{ studentLossNats: 1, studentGradientNorm: 1, studentUpdates: 1, klNats: index < 10 ? null : 0.01 },
    ...{ clippedFraction: 0, samplingDifferenceNats: index < 10 ? null : 2e-5, entropyNats: 0.5 },
    ...{ responseLength: 30 + (index % 3), teacherLength: 30, finishedFraction: 1, rougeL: 0.6 + index / 100 },
    ...{ numTokens: 900, validation: index % 10 === 9 ? { correct: index, total: 50 } : null },
    ...{ rolloutMs: 100, scoreMs: 10, studentMs: 30, discriminatorMs: 40 },
  }));

interface Invented {
  readonly method?: DistillRow['method'];
  readonly variant: string;
  readonly seed?: number;
  readonly correct: number;
  readonly set?: Readonly<Record<string, unknown>>;
}

function inventStudent({ method = 'gad', variant, seed = 1, correct, set = {} }: Invented) {
  const steps = method === 'gad' ? inventSteps(30) : [];
  const row: DistillRow = {
    ...{ method, variant, seed },
    ...{ inDistribution: { correct, total: 300 }, outOfDistribution: { correct: correct - 20, total: 300 } },
    ...{ meanLength: 31, tokens: 24_000, wallMs: 5000 },
    alarms: method === 'gad' ? [{ kind: 'lengthDrift', step: 12, message: 'Step 12: too <long>.' }] : [],
  };
  const details: StudentDetails = {
    ...{ method, variant, seed, set, steps, isDone: true, numTraces: 800, trainingMs: 4000 },
    otherTasks: { 'five people': { correct: 3, total: 300 } },
    validation: method === 'gad' ? { step: 30, correct: 29, total: 50 } : null,
    validations: steps.flatMap(({ step, validation }) => (validation === null ? [] : [{ ...validation, step }])),
    overlap: { rougeL: 0.61, ngrams: [0.8, 0.6, 0.4, null], numPairs: 300 },
  };
  return { row, details };
}

/** A run with a student by text, an adversarial one with so many right answers, and an ablation. */
export function inventDistill(gadCorrect: number, more: Partial<DistillDetails> = {}): DistillRecords {
  const students = [
    inventStudent({ method: 'seqkd', variant: 'SeqKD', correct: 150 }),
    inventStudent({ variant: 'GAD', correct: gadCorrect }),
    inventStudent({ variant: 'GAD', seed: 2, correct: gadCorrect }),
    inventStudent({ variant: 'frozen', correct: gadCorrect - 60, set: { 'gad.discriminator.isFrozen': true } }),
  ];
  const scores = (correct: number) => ({
    inDistribution: { correct, total: 300 },
    outOfDistribution: { correct, total: 300 },
    otherTasks: { 'five people': { correct: 2, total: 300 } },
  });
  return {
    distill: {
      ...{ schemaVersion: 1, commit: 'abcdef0123456789', rows: students.map(({ row }) => row) },
      toy: { teacher: new Array(10).fill(0.1), seqkd: new Array(10).fill(0.1), gad: [0, 0, 0, 1, 0, 0, 0, 0, 0, 0] },
    },
    details: {
      ...{ schemaVersion: 1, name: 'a <run>', command: 'azeotrope distill --method gad', config: {} },
      ...{ versions: { azeotrope: '0.1.0' }, precision: 'float32' },
      machine: { cpu: 'a processor', cores: 2, memoryGiB: 8, threads: 1 },
      progress: { done: students.length, total: students.length, now: null },
      ...{ teacher: scores(299), undistilled: [{ seed: 1, ...scores(30) }] },
      students: students.map(({ details }) => details),
      responses: [
        {
          ...{ set: 'in distribution', question: 'parcel at <dock> ?' },
          answers: [
            { name: 'teacher', text: 'end forge', isCorrect: true },
            { name: 'SeqKD', text: '<b>', isCorrect: false },
            { name: 'GAD', text: '', isCorrect: false },
          ],
        },
      ],
      spend: {
        ...{ numAnswers: 800, promptTokens: 7200, responseTokens: 24_000, numSkipped: 2 },
        price: { promptPerMillion: 2.5, responsePerMillion: 10, currency: 'USD' },
      },
      ...more,
    },
  };
}
