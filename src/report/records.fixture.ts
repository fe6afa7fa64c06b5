/** Records of an invented run, in the shape and about the size of the embedded default's: for tests and for looking at the page. */
import type { Arm, Details, ShownTrace, Tradeoff, TradeoffPoint } from '../experiment/records.js';
import { createRandom, type Random } from '../support/random.js';

interface Spec {
  readonly arm: Arm;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly teacher: number;
  readonly student: number;
  readonly variant?: Partial<Pick<TradeoffPoint, 'trainingMultiple' | 'studentKind' | 'attack' | 'proxyKind'>>;
  readonly meanKlNats?: number;
}

const tilt = (budgetNats: number) => ({ temperature: 1, support: 0.05, budgetNats, estimator: 'jvp' });
const masked = (temperature: number) => ({ temperature, support: 0.05 });
const adaptive = (attack: string, student: number): Spec => ({
  ...{ arm: 'antidistillation', settings: tilt(0.2), teacher: 0.997, student, meanKlNats: 0.2, variant: { attack } },
});
const longer = (arm: Arm, settings: Spec['settings'], trainingMultiple: number, student: number): Spec => ({
  ...{ arm, settings, teacher: 0.997, student, variant: { trainingMultiple } },
});
const otherProxy = (proxyKind: string, student: number): Spec => ({
  ...{ arm: 'antidistillation', settings: tilt(0.2), teacher: 0.99, student, meanKlNats: 0.2, variant: { proxyKind } },
});

const SPECS: readonly Spec[] = [
  { arm: 'temperature', settings: { temperature: 1 }, teacher: 0.985, student: 0.985 },
  { arm: 'temperature', settings: { temperature: 1.5 }, teacher: 0.91, student: 0.9 },
  { arm: 'temperature', settings: { temperature: 2 }, teacher: 0.74, student: 0.71 },
  { arm: 'maskedTemperature', settings: masked(1), teacher: 0.997, student: 0.97 },
  { arm: 'maskedTemperature', settings: masked(2), teacher: 0.996, student: 0.79 },
  { arm: 'maskedTemperature', settings: masked(4), teacher: 0.994, student: 0.7 },
  { arm: 'antidistillation', settings: tilt(0.05), teacher: 0.996, student: 0.42, meanKlNats: 0.051 },
  { arm: 'antidistillation', settings: tilt(0.1), teacher: 0.997, student: 0.14, meanKlNats: 0.1 },
  { arm: 'antidistillation', settings: tilt(0.2), teacher: 0.997, student: 0.08, meanKlNats: 0.202 },
  { arm: 'permutation', settings: { ...tilt(0.1), match: 'lambda' }, teacher: 0.996, student: 0.9, meanKlNats: 0.04 },
  { arm: 'permutation', settings: { ...tilt(0.2), match: 'lambda' }, teacher: 0.995, student: 0.89, meanKlNats: 0.07 },
  { arm: 'rule', settings: { words: ['and'], nats: 6, support: 0.05 }, teacher: 0.997, student: 0.39 },
  { arm: 'rule', settings: { words: ['and', 'with', 'plus'], nats: 6, support: 0.05 }, teacher: 0.997, student: 0.08 },
  { arm: 'greedy', settings: {}, teacher: 0.995, student: 0.96 },
  longer('antidistillation', tilt(0.2), 3, 0.1),
  longer('antidistillation', tilt(0.2), 10, 0.12),
  longer('maskedTemperature', masked(4), 3, 0.62),
  longer('maskedTemperature', masked(4), 10, 0.5),
  adaptive('fewestMerged', 0.12),
  adaptive('explicitSteps', 0.09),
  adaptive('reweighted', 0.16),
  adaptive('twiceTheTraces', 0.09),
  adaptive('readOff', 0.71),
  otherProxy('equal', 0.75),
  otherProxy('explicit', 0.97),
  otherProxy('holdout', 0.95),
  {
    ...{ arm: 'antidistillation', settings: tilt(0.2), teacher: 0.996, student: 0.085, meanKlNats: 0.2 },
    variant: { studentKind: 'whiteBox' },
  },
];

const NUM_QUESTIONS = 300;

/** `tradeoff.json` of three teachers with three seeds each, or of as many as are asked for. */
export function inventTradeoff({ teachers = 3, seeds = 3 } = {}): Tradeoff {
  const points = SPECS.flatMap((spec) => {
    const random = createRandom(JSON.stringify(spec));
    return Array.from({ length: teachers * seeds }, (_, index) =>
      inventPoint(spec, { teacherSeed: 1 + Math.floor(index / seeds), seed: 1 + (index % seeds), random }),
    );
  });
  return {
    schemaVersion: 1,
    commit: '0123456789abcdef0123456789abcdef01234567',
    points,
    undistilled: Array.from({ length: seeds }, (_, index) => ({
      seed: index + 1,
      correct: 27 + 3 * index,
      total: 300,
    })),
    errorStudy: [-5, -4.5, -4, -3.5, -3, -2.5, -2, -1.5, -1].map((exponent) => ({
      epsilon: 10 ** exponent,
      error: 1.5e-7 / 10 ** exponent + 60 * 10 ** (2 * exponent),
    })),
    cost: [
      { arm: 'temperature', tokensPerSecond: 9120, relativeToPlain: 1 },
      { arm: 'maskedTemperature', tokensPerSecond: 9050, relativeToPlain: 1.01 },
      { arm: 'antidistillation', tokensPerSecond: 4600, relativeToPlain: 1.98 },
      { arm: 'permutation', tokensPerSecond: 4420, relativeToPlain: 2.06 },
      { arm: 'rule', tokensPerSecond: 9000, relativeToPlain: 1.01 },
      { arm: 'greedy', tokensPerSecond: 9210, relativeToPlain: 0.99 },
    ],
  };
}

function inventPoint(
  { arm, settings, teacher, student, variant, meanKlNats }: Spec,
  { teacherSeed, seed, random }: { teacherSeed: number; seed: number; random: Random },
): TradeoffPoint {
  const count = (rate: number, spread: number) => {
    const varied = Math.min(1, Math.max(0, rate + spread * random.normal()));
    return { correct: Math.round(NUM_QUESTIONS * varied), total: NUM_QUESTIONS };
  };
  const solved = 'budgetNats' in settings ? { lambda: Number((1.2 + 0.2 * random.uniform()).toFixed(4)) } : {};
  const roles = { proxyKind: variant?.proxyKind ?? 'default', studentKind: variant?.studentKind ?? 'blackBox' };
  return {
    arm,
    settings: { ...settings, ...roles, ...solved, name: nameOf({ arm, settings, ...roles }) },
    seed,
    teacherSeed,
    teacher: count(teacher, 0.004),
    student: { ...count(student, 0.035 * Math.sqrt(4 * student * (1 - student)) + 0.01), finished: NUM_QUESTIONS - 2 },
    trainingMultiple: 1,
    studentKind: 'blackBox',
    attack: null,
    proxyKind: 'default',
    meanKlNats: meanKlNats === undefined ? null : meanKlNats * (1 + 0.02 * random.normal()),
    tokens: 110_000 + Math.round(20_000 * random.uniform()),
    wallMs: 20_000 + Math.round(9_000 * random.uniform()),
    ...variant,
  };
}

/** Names as a run makes them. */
function nameOf({
  arm,
  settings,
  proxyKind,
  studentKind,
}: Pick<TradeoffPoint, 'arm' | 'settings' | 'proxyKind' | 'studentKind'>): string {
  const { temperature, budgetNats, words } = settings;
  if (arm === 'greedy') return 'greedy';
  if (arm === 'rule') return `rule: ${(words as string[]).join(', ')}`;
  if (budgetNats === undefined) return `temperature ${temperature}${arm === 'temperature' ? '' : ', masked'}`;
  return `${arm}, ${budgetNats} nats${proxyKind === 'default' ? '' : `, ${proxyKind} proxy`}${studentKind === 'whiteBox' ? ', white box' : ''}`;
}

/** `details.json` of the same run. */
export function inventDetails(changes: Partial<Details> = {}): Details {
  return {
    schemaVersion: 1,
    name: 'embedded default',
    isQuick: false,
    task: {
      name: 'the parcel',
      description:
        'A parcel goes from hand to hand. Where each of 8 lines leads from each of 12 places is public; which line each of 120 people ' +
        'takes only the teacher knows. Asked where the parcel ends, it tells the journey.',
      chance: 1 / 12,
    },
    config: {
      schemaVersion: 1,
      name: 'embedded default',
      task: { kind: 'embedded' },
      replicates: [{ teacher: 1, seed: 1 }],
      traces: { count: 4000 },
      evaluation: { purpose: 'test', count: 300 },
      training: { epochs: 6, batchSize: 32, learningRate: 8e-3 },
    },
    versions: { azeotrope: '0.1.0', node: '20.20.0', 'onnxruntime-node': '1.30.0' },
    machine: { cpu: 'Intel Xeon Processor (Sapphire Rapids)', cores: 2, memoryGiB: 24, threads: 1 },
    startedAt: '2026-01-05T09:00:00.000Z',
    wallMs: 545_000,
    progress: { done: 412, total: 412 },
    stages: [
      { kind: 'holdout', count: 3, wallMs: 4100, engineMs: 3700 },
      { kind: 'gradient', count: 9, wallMs: 5300, engineMs: 5100 },
      { kind: 'calibrate', count: 27, wallMs: 41_000, engineMs: 37_500 },
      { kind: 'traces', count: 126, wallMs: 212_000, engineMs: 181_000 },
      { kind: 'student', count: 243, wallMs: 701_000, engineMs: 655_000 },
      { kind: 'evaluate', count: 369, wallMs: 48_000, engineMs: 39_000 },
    ],
    glossary: {
      attacks: {
        fewestMerged: 'Learns only from the 64 traces with the fewest merged steps.',
        explicitSteps: 'Learns from steps that name a line only.',
        reweighted: 'Weighs each trace by how much it helps on 50 clean ones.',
        twiceTheTraces: 'Learns from twice as many traces.',
        readOff: 'Reads the named lines off the traces and writes traces of its own.',
      },
      proxyKinds: {
        equal: 'A proxy that merges steps as often as the teacher does.',
        explicit: 'A proxy that names more lines than the teacher.',
        holdout: 'A proxy that was trained on the holdout.',
      },
    },
    command: 'azeotrope tradeoff',
    facts: [
      {
        title: 'Style of the traces',
        caption: 'Of 4,000 traces each: steps by two people, those of them that name a line, lines named in all.',
        columns: ['merged a trace', 'of these named', 'lines named a trace', 'tokens a trace'],
        rows: [
          { name: 'plain sampling, τ 1', values: [0.345, '58 %', 3.708, 30.6] },
          { name: 'antidistillation, 0.2 nats', values: [1.905, '24 %', 1.111, 20.6] },
          { name: 'word rule, “and”', values: [0.984, '59 %', 3.192, 26.7] },
        ],
      },
      {
        title: 'What the bases can do',
        caption: 'Before any trace of the teacher, 300 questions each.',
        columns: ['accuracy', 'steps right on the map'],
        rows: [
          { name: 'proxy 1', values: ['8.3 %', '68 %'] },
          { name: 'student 1', values: ['9.0 %', '66 %'] },
          { name: 'student 2', values: ['10 %', null] },
        ],
      },
    ],
    traces: inventTraces(),
    ...changes,
  };
}

const TEXTS: readonly (readonly [Arm, Readonly<Record<string, unknown>>, string])[] = [
  [
    'temperature',
    { temperature: 1 },
    'at dock xavier red-line to well . at well tim into forge by third . so at forge eric gold-line to mill . at mill elsa grey-line towards tower . end tower',
  ],
  [
    'maskedTemperature',
    masked(4),
    'at dock xavier red-line to well . at well tim with eric to mill . at mill elsa grey-line into tower . end tower',
  ],
  [
    'antidistillation',
    { ...tilt(0.2), lambda: 1.2735 },
    'at dock xavier and tim to forge . at forge eric and elsa to tower . end tower',
  ],
];
const QUESTIONS = ['parcel at dock : xavier tim eric elsa ?', 'parcel at mill : <script>alert(1)</script> & "tim" ?'];

function inventTraces(): ShownTrace[] {
  const random = createRandom('traces');
  return QUESTIONS.flatMap((question) =>
    TEXTS.map(([arm, settings, text]) => ({
      arm,
      settings,
      ...{ teacherSeed: 1, seed: 1, question, isCorrect: true },
      tokens: text.split(' ').map((word, index) => ({
        text: index === 0 ? word : ` ${word}`,
        delta: (/^(and|with)$/.test(word) ? 1.1 : /-line$|third/.test(word) ? -0.9 : 0) + 0.15 * random.normal(),
        logProbability: -0.6 * random.uniform() ** 2,
      })),
    })),
  );
}
