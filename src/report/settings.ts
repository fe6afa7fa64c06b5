/** Points of a run gathered into settings: everything that differs in seeds only is one line of a table, one mark of a figure. */
import { bootstrapRates, percentileInterval, type SeedCell } from '../evaluation/bootstrap.js';
import { type Interval, wilsonInterval } from '../evaluation/intervals.js';
import type { Arm, Count, TradeoffPoint } from '../experiment/records.js';
import { canonicalJson } from '../support/hash.js';
import { formatNumber, listOf } from './format.js';

/** In the order of every figure and table. */
export const ARMS: readonly Arm[] = [
  'temperature',
  'maskedTemperature',
  'antidistillation',
  'permutation',
  'rule',
  'greedy',
];

export const ARM_NAMES: Readonly<Record<Arm, string>> = {
  temperature: 'temperature',
  maskedTemperature: 'temperature, masked',
  antidistillation: 'antidistillation',
  permutation: 'permutation (control)',
  rule: 'rule',
  greedy: 'greedy',
};

/** A rate over all seeds. */
export interface Estimate extends Count {
  readonly rate: number;
  /** Wilson's interval of the pooled answers: what chance in the answers alone allows. */
  readonly wilson: Interval;
  /** On each side the wider of Wilson's and a bootstrap over teachers, seeds and answers. */
  readonly interval: Interval;
}

export interface Setting {
  readonly key: string;
  /** The same for all students of one sampler: proxy kind, student kind, attack and training length left out. */
  readonly samplerKey: string;
  readonly arm: Arm;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly studentKind: TradeoffPoint['studentKind'];
  readonly proxyKind: string;
  readonly attack: string | null;
  readonly trainingMultiple: number;
  /** Within its arm: `τ 2`, `0.2 nats`. */
  readonly label: string;
  /** With its arm. */
  readonly name: string;
  /** What orders settings of an arm; the larger the stronger. */
  readonly strength: number;
  readonly points: readonly TradeoffPoint[];
  readonly numTeachers: number;
  readonly teacher: Estimate;
  readonly student: Estimate & { readonly finished: number };
  /** Bootstrap draws of both rates, paired. */
  readonly draws: { readonly teacher: Float64Array; readonly student: Float64Array };
  /** Means over points; null where nothing was tilted or noted. */
  readonly meanKlNats: number | null;
  readonly lambda: number | null;
  /** Of students on worked solutions. */
  readonly lossNats: number | null;
}

/** Points as settings, in an order that does not depend on the order in which points arrived. */
export function groupSettings(points: readonly TradeoffPoint[]): Setting[] {
  const groups = new Map<string, TradeoffPoint[]>();
  for (const point of points) {
    const key = keyOf(point);
    groups.set(key, [...(groups.get(key) ?? []), point]);
  }
  return [...groups]
    .map(([key, members]) => settingOf(key, members))
    .sort(
      (a, b) =>
        ARMS.indexOf(a.arm) - ARMS.indexOf(b.arm) ||
        a.strength - b.strength ||
        (a.samplerKey < b.samplerKey ? -1 : Number(a.samplerKey > b.samplerKey)) ||
        Number(isOrdinary(b)) - Number(isOrdinary(a)) ||
        a.trainingMultiple - b.trainingMultiple ||
        (a.key < b.key ? -1 : 1),
    );
}

/** An ordinary student: black-box, of the default proxy, not adapted, trained for the run's own length. */
export const isOrdinary = ({ studentKind, proxyKind, attack, trainingMultiple }: Setting): boolean =>
  studentKind === 'blackBox' && proxyKind === 'default' && attack === null && trainingMultiple === 1;

/** Pooled counts as a rate with its intervals. `draws` are bootstrap draws of the same rate, where there are any. */
export function estimate(counts: readonly Count[], draws?: Float64Array): Estimate {
  const correct = counts.reduce((sum, count) => sum + count.correct, 0);
  const total = counts.reduce((sum, count) => sum + count.total, 0);
  const wilson = wilsonInterval(correct, total);
  const wide = draws ? percentileInterval(draws) : wilson;
  const interval = { lower: Math.min(wilson.lower, wide.lower), upper: Math.max(wilson.upper, wide.upper) };
  return { correct, total, rate: total > 0 ? correct / total : 0, wilson, interval };
}

export interface Gap extends Interval {
  /** `high` less `low`, in 0–1; over the seeds that both have. */
  readonly value: number;
  readonly numPairs: number;
}

/** How far one setting's rate lies above another's, with a bootstrap interval paired by seeds; undefined where no seeds are shared. */
export function gapBetween(high: Setting, low: Setting, who: 'teacher' | 'student' = 'student'): Gap | undefined {
  const others = new Map(low.points.map((point) => [seedsOf(point), point]));
  const cells: SeedCell[] = sortedPoints(high.points).flatMap((point) => {
    const other = others.get(seedsOf(point));
    return other ? [{ cluster: point.teacherSeed, counts: [point[who], other[who]] }] : [];
  });
  if (cells.length === 0) return undefined;
  const [highDraws, lowDraws] = bootstrapRates(cells);
  const rateOf = (index: number) => estimate(cells.map(({ counts }) => counts[index])).rate;
  const differences = highDraws.map((rate, index) => rate - lowDraws[index]);
  return { value: rateOf(0) - rateOf(1), numPairs: cells.length, ...percentileInterval(differences) };
}

function settingOf(key: string, members: readonly TradeoffPoint[]): Setting {
  const points = sortedPoints(members);
  const { arm, studentKind, proxyKind, attack, trainingMultiple } = points[0];
  const settings = flatten(points[0].settings);
  const [teacherDraws, studentDraws] = bootstrapRates(
    points.map(({ teacherSeed, teacher, student }) => ({ cluster: teacherSeed, counts: [teacher, student] })),
  );
  const label = labelOf(arm, settings);
  return {
    key,
    samplerKey: samplerKeyOf(points[0]),
    ...{ arm, settings, studentKind, proxyKind, attack, trainingMultiple, label, points },
    name: nameOf(points[0]),
    strength: strengthOf(settings),
    numTeachers: new Set(points.map(({ teacherSeed }) => teacherSeed)).size,
    teacher: estimate(
      points.map(({ teacher }) => teacher),
      teacherDraws,
    ),
    student: {
      ...estimate(
        points.map(({ student }) => student),
        studentDraws,
      ),
      finished: points.reduce((sum, { student }) => sum + student.finished, 0),
    },
    draws: { teacher: teacherDraws, student: studentDraws },
    meanKlNats: meanOf(points.map((point) => point.meanKlNats)),
    lambda: meanOf(points.map((point) => numberOf(flatten(point.settings).lambda))),
    lossNats: meanOf(points.map(({ student }) => student.lossNats ?? null)),
  };
}

/** What was solved for differs from seed to seed, and names and roles are told apart by fields of their own. */
function samplerKeyOf({ arm, settings }: TradeoffPoint): string {
  const { name: _, proxyKind: __, studentKind: ___, ...told } = flatten(settings);
  if (arm !== 'rule' && ('budgetNats' in told || 'maxAccuracyLoss' in told)) delete told.lambda;
  return canonicalJson([arm, told]);
}

const keyOf = (point: TradeoffPoint): string =>
  canonicalJson([samplerKeyOf(point), ...[point.studentKind, point.proxyKind, point.attack, point.trainingMultiple]]);

/** `strength: {budgetNats: 0.2}` says the same as `budgetNats: 0.2`. */
function flatten({ strength, ...rest }: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return typeof strength === 'object' && strength !== null ? { ...rest, ...strength } : { ...rest };
}

/** What a setting is called: as its run calls it, without what is said of student and proxy, or else arm and label. */
export function nameOf({
  arm,
  settings,
  studentKind,
  proxyKind,
}: Pick<TradeoffPoint, 'arm' | 'settings' | 'studentKind' | 'proxyKind'>): string {
  if (typeof settings.name === 'string') {
    const name = studentKind === 'whiteBox' ? settings.name.replace(/, white box$/, '') : settings.name;
    return name.replace(`, ${proxyKind} proxy`, '');
  }
  const label = labelOf(arm, settings);
  return label === ARM_NAMES[arm] ? label : `${ARM_NAMES[arm]}, ${label}`;
}

/** Names that a run makes from settings by itself. */
const MADE_NAME = /^(temperature|antidistillation|permutation|rule|greedy)\b/;

/** What a setting is called within its arm: how strong it is, or its own name where it was given one. */
function labelOf(arm: Arm, settings: Readonly<Record<string, unknown>>): string {
  const { name, budgetNats, maxAccuracyLoss, lambda, temperature, words } = flatten(settings);
  if (typeof name === 'string' && !MADE_NAME.test(name)) return name;
  if (arm === 'greedy') return ARM_NAMES.greedy;
  if (arm === 'rule') return Array.isArray(words) ? listOf(words.map((word) => `“${word}”`)) : ARM_NAMES.rule;
  if (typeof budgetNats === 'number') return `${formatNumber(budgetNats)} nats`;
  if (typeof maxAccuracyLoss === 'number') return `${formatNumber(100 * maxAccuracyLoss)} points`;
  if (typeof lambda === 'number') return `λ ${formatNumber(lambda)}`;
  return typeof temperature === 'number' ? `τ ${formatNumber(temperature)}` : ARM_NAMES[arm];
}

/** Of one arm one of these tells the strength; a rule's is how many words it names. */
function strengthOf({
  words,
  budgetNats,
  maxAccuracyLoss,
  lambda,
  temperature,
}: Readonly<Record<string, unknown>>): number {
  if (Array.isArray(words)) return words.length;
  return [budgetNats, maxAccuracyLoss, lambda, temperature].map(numberOf).find((value) => value !== null) ?? 0;
}

const numberOf = (value: unknown): number | null => (typeof value === 'number' ? value : null);

function meanOf(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
}

const seedsOf = ({ teacherSeed, seed }: TradeoffPoint): string => `${teacherSeed} ${seed}`;

const sortedPoints = (points: readonly TradeoffPoint[]): TradeoffPoint[] =>
  [...points].sort((a, b) => a.teacherSeed - b.teacherSeed || a.seed - b.seed);
