/** Figures and tables of what students learn: from findings to drawings, each with its words and numbers. */
import type { Tradeoff } from '../experiment/records.js';
import type { Curve } from './curve-figure.js';
import { drawCurves } from './curve-figure.js';
import type { Figure } from './figure.js';
import type { Findings, Recovery } from './findings.js';
import { drawForest, type ForestRow } from './forest-figure.js';
import { formatNumber, formatPercent, listOf, percent, percentWithInterval } from './format.js';
import { ARMS, type Estimate, estimate, isOrdinary, type Setting } from './settings.js';
import type { Table } from './table.js';
import { ARM_STYLES } from './theme.js';
import { drawTradeoff } from './tradeoff-figure.js';
import { quote, spaced } from './words.js';

/** Student accuracy against teacher accuracy. */
export function tradeoffFigure(findings: Findings): Figure | undefined {
  const { settings, defended, undefended, undistilled } = findings;
  const ordinary = settings.filter(isOrdinary);
  if (ordinary.length === 0) return undefined;
  const told = (setting: Setting | undefined) =>
    setting && `${setting.name}: teacher ${percent(setting.teacher.rate)}, student ${percent(setting.student.rate)}.`;
  return {
    name: 'trade-off',
    title: 'What the teacher gives up, and what its student loses',
    alt: [
      'Student accuracy against teacher accuracy, a point for each sampler and strength.',
      told(defended),
      told(undefended),
      undistilled && `Without any trace: ${percent(undistilled.rate)}.`,
    ]
      .filter(Boolean)
      .join(' '),
    caption:
      'Each large mark pools the seeds of one setting; lines through it are Wilson 95 % intervals of both accuracies, dots the seeds. Bands: ' +
      '95 % of a bootstrap over teachers, seeds and answers. Masked: only tokens that antidistillation may draw, too. ' +
      'The further down and to the right, the better for the teacher’s owner.',
    draw: (width) => drawTradeoff(findings, width) ?? '',
    table: settingsTable(ordinary, 'Accuracy of teacher and student by setting'),
  };
}

/** Antidistillation, the same with Δ shuffled, and nothing of the kind. */
export function permutationFigure({ settings, plain, maskedPlain, undistilled }: Findings): Figure | undefined {
  const ordinary = settings.filter(isOrdinary);
  const shown = [
    ...[plain, maskedPlain].filter((setting) => setting !== undefined),
    ...ordinary.filter(({ arm }) => arm === 'permutation'),
    ...ordinary.filter(({ arm }) => arm === 'antidistillation'),
  ];
  if (!['permutation', 'antidistillation'].every((arm) => shown.some((setting) => setting.arm === arm)))
    return undefined;
  const rows = shown.map((setting, index) => ({
    ...rowOf(setting, setting.name),
    second: setting.teacher,
    isFirstOfGroup: setting.arm !== shown[index - 1]?.arm,
  }));
  return {
    name: 'permutation',
    title: 'The direction of Δ, or just noise?',
    alt: `Student accuracy under plain sampling, under antidistillation, and under the control that shuffles Δ. ${listOf(shown.map(tell))}.`,
    caption:
      'Filled marks are students, hollow ones their teachers, dots the seeds; lines are 95 % intervals. The control draws the same sizes of Δ for ' +
      'random tokens with random signs, at the λ of antidistillation.',
    draw: (width) => drawForest(rows, { width, axisLabel: 'accuracy (%)', references: untaught(undistilled) }),
    table: settingsTable(shown, 'Plain sampling, control and antidistillation'),
  };
}

/** Accuracy over the length of training. */
export function longerFigure({ settings, defended, undefended, undistilled }: Findings): Figure | undefined {
  const candidates = settings.filter(
    ({ studentKind, proxyKind, attack }) => studentKind === 'blackBox' && proxyKind === 'default' && attack === null,
  );
  const lengthsOf = (samplerKey: string) => candidates.filter((setting) => setting.samplerKey === samplerKey);
  const chosen = ARMS.flatMap((arm) => {
    const keys = new Set(candidates.filter((setting) => setting.arm === arm).map(({ samplerKey }) => samplerKey));
    const isFirst = (key: string) => Number(key === defended?.samplerKey || key === undefended?.samplerKey);
    const [best] = [...keys].sort((a, b) => isFirst(b) - isFirst(a) || lengthsOf(b).length - lengthsOf(a).length);
    const members = best === undefined ? [] : lengthsOf(best);
    return members.length > 1 ? [members.sort((a, b) => a.trainingMultiple - b.trainingMultiple)] : [];
  });
  if (chosen.length === 0) return undefined;
  const curves: Curve[] = chosen.map((members) => ({
    name: members[0].name,
    style: ARM_STYLES[members[0].arm],
    points: members.map(({ trainingMultiple, student }) => ({
      x: trainingMultiple,
      y: student.rate,
      ...student.interval,
    })),
  }));
  const multiples = [...new Set(chosen.flat().map(({ trainingMultiple }) => trainingMultiple))].sort((a, b) => a - b);
  return {
    name: 'longer-training',
    title: 'Training for longer',
    alt: `Student accuracy over the length of training. ${listOf(chosen.flat().map((setting) => `${setting.name}, ${formatNumber(setting.trainingMultiple)} times: ${percent(setting.student.rate)}`))}.`,
    caption: 'Each mark pools all seeds; bands and lines are 95 % intervals. Length 1 is the run’s own training.',
    draw: (width) =>
      drawCurves(curves, {
        width,
        x: {
          label: 'length of training (times the run’s own)',
          isLogarithmic: true,
          ticks: multiples,
          format: (value) => `${formatNumber(value)} ×`,
        },
        y: { label: 'student accuracy (%)', domain: [0, 1], format: (rate) => formatNumber(100 * rate) },
        references: untaught(undistilled).map(({ name, rate }) => ({ name: `${name}: ${percent(rate)}`, y: rate })),
      }),
    table: settingsTable(chosen.flat(), 'Student accuracy by length of training'),
  };
}

/** Students that adapt to the defence. */
export function adaptiveFigure({ attacks, defended, undefended, undistilled }: Findings): Figure | undefined {
  const title = 'Students that know of the defence';
  return recoveryFigure(attacks, {
    ...{ name: 'adaptive-students', title, defended, undefended, undistilled },
    alt: 'Accuracy of students that adapt to the defence, beside the ordinary student and the undefended one.',
    caption:
      'All learn from the same defended traces (or more of them); what each does is told above. At the dashed line an adaptive student has ' +
      'all again that the defence took.',
    nameOf: ({ attack }) => spaced(attack ?? ''),
  });
}

/** The same defence, made with other proxies. */
export function proxiesFigure({ proxies, whiteBox, defended, undefended, undistilled }: Findings): Figure | undefined {
  const title = 'Other proxies';
  return recoveryFigure([...whiteBox, ...proxies], {
    ...{ name: 'proxies', title, defended, undefended, undistilled },
    alt: 'Accuracy of the student where the defence is made with other proxies.',
    caption:
      'The same sampler with a gradient of another proxy. Where the mark reaches the dashed line, the defence does nothing.',
    nameOf: ({ studentKind, proxyKind }) =>
      [
        studentKind === 'whiteBox' && 'the student’s own base (white box)',
        proxyKind !== 'default' && `proxy ${quote(proxyKind)}`,
      ]
        .filter(Boolean)
        .join(', '),
  });
}

interface RecoveryWords extends Pick<Findings, 'defended' | 'undefended' | 'undistilled'> {
  readonly name: string;
  readonly title: string;
  readonly alt: string;
  readonly caption: string;
  readonly nameOf: (setting: Setting) => string;
}

function recoveryFigure(recoveries: readonly Recovery[], words: RecoveryWords): Figure | undefined {
  const { defended, undefended, undistilled, nameOf } = words;
  if (recoveries.length === 0 || !defended) return undefined;
  const groups = new Map<Setting, Setting[]>();
  for (const { setting, ordinary } of recoveries) groups.set(ordinary, [...(groups.get(ordinary) ?? []), setting]);
  const rows = [...groups].flatMap(([ordinary, members], index) => [
    {
      ...rowOf(ordinary, groups.size > 1 ? `usual: ${ordinary.label}` : 'the usual student'),
      isFirstOfGroup: index > 0,
    },
    ...members.sort((a, b) => b.student.rate - a.student.rate).map((setting) => rowOf(setting, nameOf(setting))),
  ]);
  const references = [
    ...untaught(undistilled),
    ...(undefended ? [{ name: 'undefended', rate: undefended.student.rate }] : []),
  ];
  return {
    ...words,
    alt: `${words.alt} ${listOf(rows.map(({ name, value }) => `${name}: ${percent(value.rate)}`))}.`,
    draw: (width) => drawForest(rows, { width, axisLabel: 'student accuracy (%)', references }),
    table: {
      caption: words.title,
      columns: [
        { name: 'student' },
        { name: 'defence' },
        { name: 'accuracy (95 %)', isNumber: true },
        { name: 'students', isNumber: true },
        { name: 'regained', isNumber: true },
      ],
      rows: recoveries.map(({ setting, ordinary, share }) => [
        nameOf(setting),
        ordinary.label,
        percentWithInterval(setting.student.rate, setting.student.interval),
        String(setting.points.length),
        share === null ? null : percent(Math.round(share * 100) / 100),
      ]),
    },
  };
}

/** One line for each setting, with everything that tells it from others. */
export function settingsTable(settings: readonly Setting[], caption: string): Table {
  const hasLoss = settings.some(({ lossNats }) => lossNats !== null);
  return {
    caption,
    columns: [
      { name: 'sampler' },
      { name: 'student' },
      { name: 'teacher %', isNumber: true },
      { name: 'student %', isNumber: true },
      { name: 'seeds × n', isNumber: true },
      { name: 'λ', isNumber: true },
      { name: 'nats', isNumber: true },
      ...(hasLoss ? [{ name: 'student’s loss on solutions', isNumber: true }] : []),
    ],
    rows: settings.map((setting) => [
      setting.name,
      studentText(setting),
      intervalCell(setting.teacher),
      intervalCell(setting.student),
      `${setting.points.length} × ${formatNumber(setting.student.total / setting.points.length)}`,
      setting.lambda === null ? null : formatNumber(setting.lambda),
      setting.meanKlNats === null ? null : formatNumber(setting.meanKlNats, 2),
      ...(hasLoss ? [setting.lossNats === null ? null : formatNumber(setting.lossNats, 3)] : []),
    ]),
  };
}

/** What stands beside the students: the student before it saw a trace, and rules without a model. Undefined where there are no rules. */
export function baselinesTable({
  undistilled,
  baselines = [],
}: Pick<Tradeoff, 'undistilled' | 'baselines'>): Table | undefined {
  if (baselines.length === 0) return undefined;
  const losses = undistilled.flatMap(({ lossNats }) => lossNats ?? []);
  const lossNats = losses.length === 0 ? null : losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
  const rates = [
    ...(undistilled.length === 0 ? [] : [{ name: 'the student before any trace', counts: undistilled, lossNats }]),
    ...baselines.map((baseline) => ({ name: baseline.name, counts: [baseline], lossNats: null })),
  ];
  return {
    caption: 'Without any trace: the student as it was, and one-line rules that read the numbers of a question',
    isCaptionShown: true,
    columns: [
      { name: '' },
      { name: 'right %', isNumber: true },
      { name: 'n', isNumber: true },
      { name: 'loss on solutions', isNumber: true },
    ],
    rows: rates.map(({ name, counts, lossNats: loss }) => {
      const pooled = estimate(counts);
      return [name, intervalCell(pooled), formatNumber(pooled.total), loss === null ? null : formatNumber(loss, 3)];
    }),
  };
}

/** What is special about a student: `3 ×, white box, “read off”`; a dash where nothing is. */
export function studentText({
  trainingMultiple,
  studentKind,
  proxyKind,
  attack,
}: Pick<Setting, 'trainingMultiple' | 'studentKind' | 'proxyKind' | 'attack'>): string {
  const parts = [
    trainingMultiple !== 1 && `${formatNumber(trainingMultiple)} ×`,
    studentKind === 'whiteBox' && 'white box',
    proxyKind !== 'default' && `proxy ${quote(proxyKind)}`,
    attack !== null && quote(attack),
  ];
  return parts.filter(Boolean).join(', ') || 'ordinary';
}

const intervalCell = ({ rate, interval }: Estimate): string =>
  `${formatPercent(rate)} (${formatPercent(interval.lower)}–${formatPercent(interval.upper)})`;

const rowOf = (setting: Setting, name: string): ForestRow => ({
  ...{ name, style: ARM_STYLES[setting.arm], value: setting.student },
  seeds: setting.points.map(({ student }) => student.correct / student.total),
});

const untaught = (undistilled: Findings['undistilled']) =>
  undistilled ? [{ name: 'no trace seen', rate: undistilled.rate }] : [];

const tell = (setting: Setting): string => `${setting.name}: ${percent(setting.student.rate)}`;
