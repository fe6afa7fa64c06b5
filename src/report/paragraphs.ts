/** The questions a reader has, each answered in a paragraph made from the numbers. */
import { type Findings, type Longer, type Recovery, SAME_TEACHER } from './findings.js';
import { countOf, formatCount, formatPercent, listOf, percent, points } from './format.js';
import type { Estimate, Setting } from './settings.js';
import {
  areApart,
  asClause,
  byRate,
  gapText,
  join,
  moreOrFewer,
  quote,
  rateOf,
  regainedText,
  SLIGHT,
  timesAsLong,
} from './words.js';

export interface Paragraph {
  readonly title: string;
  readonly text: string;
}

/** A control is level with plain sampling within so much. */
const CONTROL_TOLERANCE = 0.1;

export function readEffect(findings: Findings, chance: number | null): Paragraph | undefined {
  const { defended, undefended, gap, plain, undistilled } = findings;
  if (!defended) return undefined;
  const sentences = [
    `The text is about ${defended.name}: a setting chosen by what its teacher keeps and by how much else was measured at it, not by its student.`,
    plain &&
      `Its teacher answers ${rateOf(defended.teacher)} of the questions, under plain sampling (${plain.label}) ${rateOf(plain.teacher)}.`,
    `A student trained on its traces answers ${rateOf(defended.student)}.`,
    undefended &&
      gap &&
      `The student it is compared with learned from the traces of “${undefended.name}”, ${comparison(undefended, defended)}, and answers ` +
        `${rateOf(undefended.student)}: ${moreOrFewer(gap)}.`,
    undefended &&
      gap &&
      (areApart(defended.student, undefended.student) ? 'The intervals do not meet.' : 'The intervals overlap.'),
    undistilled && readUntaught(defended.student, undistilled),
    chance !== null && `Guessing gives ${percent(chance)}.`,
  ];
  return { title: 'What the defence does', text: join(sentences) };
}

const comparison = (undefended: Setting, defended: Setting): string =>
  Math.abs(undefended.teacher.rate - defended.teacher.rate) <= SAME_TEACHER
    ? `the hardest to learn from of those whose teacher is as good (${percent(undefended.teacher.rate)})`
    : `of all undefended ones those whose teacher comes nearest (${percent(undefended.teacher.rate)})`;

function readUntaught(student: Estimate, undistilled: Estimate): string {
  const { rate, interval } = undistilled;
  const untaught = `one that has seen no trace at all (${percent(rate)}, ${formatPercent(interval.lower)}–${formatPercent(interval.upper)})`;
  if (!areApart(student, undistilled)) return `The defended student is no better than ${untaught}.`;
  const above = student.rate - undistilled.rate;
  return `The defended student is ${points(Math.abs(above))} ${above > 0 ? 'above' : 'below'} ${untaught}.`;
}

export function readControl({ permuted, maskedPlain, plain, gap }: Findings): Paragraph | undefined {
  const base = maskedPlain ?? plain;
  if (!permuted?.lossAgainstPlain || !base) return undefined;
  const { setting, lossAgainstPlain: loss, aboveDefended } = permuted;
  const start =
    `In the control the same numbers are shuffled among the tokens (${setting.label}): as much disturbance, no information. Its student ` +
    `answers ${rateOf(setting.student)}, the student of “${base.name}” ${rateOf(base.student)}.`;
  const meaning =
    loss.value > CONTROL_TOLERANCE
      ? `The disturbance alone costs the student ${gapText(loss)}: that part of the effect is not due to the direction of Δ.`
      : !gap || gap.lower <= 0
        ? 'The disturbance alone does little.'
        : aboveDefended && aboveDefended.lower > 0
          ? 'So it is the direction of Δ that harms students, not the disturbance.'
          : 'It does not lie clearly above the defended student: whether the direction of Δ or the disturbance harms, this run cannot tell.';
  return { title: 'Is it more than noise?', text: `${start} ${meaning}` };
}

export function readLonger({ longer, defended, undefended: start }: Findings): Paragraph | undefined {
  if (!defended) return undefined;
  const title = 'Does longer training bring it back?';
  if (longer.length === 0) return { title, text: 'Longer training was not measured in this run.' };
  const sentences = longer.map(({ setting, share, undefended, gap }) => {
    const regained = share === null ? '' : `, ${regainedText(share)} of what the defence took`;
    const other =
      undefended && gap ? `; the undefended one answers ${percent(undefended.student.rate)}, ${moreOrFewer(gap)}` : '';
    return `Trained ${timesAsLong(setting)}, the student of defended traces answers ${rateOf(setting.student)}${regained}${other}.`;
  });
  const last = longer.at(-1)?.undefended;
  const lost = start && last ? start.student.rate - last.student.rate : 0;
  return {
    title,
    text: join([
      ...sentences,
      longerVerdict(longer),
      lost > SLIGHT &&
        `The undefended student itself loses ${points(lost)} by training longer, so the gap narrows from above.`,
    ]),
  };
}

function longerVerdict(longer: readonly Longer[]): string {
  const verdicts = longer.map(({ verdict }) => verdict);
  if (verdicts.includes('undone')) return 'Longer training undoes the defence.';
  if (verdicts.includes('weakened')) return 'Longer training weakens the defence and does not undo it.';
  return 'Longer training does not bring back what the defence took.';
}

export function readAttacks(
  { attacks, defended }: Findings,
  sentences: Readonly<Record<string, string>>,
): Paragraph | undefined {
  if (!defended) return undefined;
  const title = 'Can a student that knows of the defence undo it?';
  if (attacks.length === 0)
    return {
      title,
      text: 'Adaptive students were not measured in this run: nothing here says that the defence holds against one.',
    };
  const here = byRate(attacks.filter(({ ordinary }) => ordinary === defended));
  const elsewhere = byRate(attacks.filter(({ ordinary }) => ordinary !== defended));
  const tell = ({ setting, share, verdict }: Recovery) => {
    const name = quote(setting.attack ?? '');
    if (verdict === 'holds') return `${name} (${percent(setting.student.rate)})`;
    const meaning = asClause(sentences[setting.attack ?? '']);
    const regained = share === null ? '' : `, ${regainedText(share)} of what the defence took`;
    return `${name}${meaning && `, which ${meaning}`}: ${rateOf(setting.student)}${regained}`;
  };
  const group = (verdict: Recovery['verdict'], start: string) => {
    const members = here.filter((attack) => attack.verdict === verdict);
    return members.length > 0 && `${start} ${listOf(members.map(tell))}.`;
  };
  const others = elsewhere
    .filter(({ verdict }) => verdict !== 'holds')
    .map(
      ({ setting, ordinary, verdict }) =>
        `${quote(setting.attack ?? '')} ${verdict === 'undone' ? 'undoes' : 'weakens'} ${ordinary.label} (${percent(setting.student.rate)})`,
    );
  return {
    title,
    text: join([
      group('undone', 'The defence is undone by'),
      group('weakened', 'It is weakened by'),
      group('holds', 'It holds against'),
      others.length > 0 && `At other strengths ${listOf(others)}.`,
      'A student counts as undoing the defence where it regains half of what the defence took.',
    ]),
  };
}

export function readRules({ rules, defended }: Findings): Paragraph | undefined {
  if (rules.length === 0 || !defended) return undefined;
  const sentences = rules.map(({ setting, aboveDefended: above }) => {
    const start = `The rule that prefers ${setting.label} keeps its teacher at ${percent(setting.teacher.rate)} and its student at ${rateOf(setting.student)}`;
    if (!above) return `${start}.`;
    if (above.lower <= 0 && above.upper >= 0) {
      return Math.abs(above.value) <= SLIGHT
        ? `${start}: on this measure the rule does as well.`
        : `${start}, ${gapText(above)} above antidistillation’s: this run cannot tell the two apart.`;
    }
    if (above.value < 0) return `${start}: on this measure the rule does better.`;
    return `${start}, ${gapText(above)} above antidistillation’s.`;
  });
  return {
    title: 'Would a simple rule do?',
    text: join([...sentences, 'A rule needs someone who knows the words; antidistillation finds them by gradient.']),
  };
}

export function readProxies(
  { proxies, whiteBox, defended }: Findings,
  sentences: Readonly<Record<string, string>>,
): Paragraph | undefined {
  if (!defended || proxies.length + whiteBox.length === 0) return undefined;
  const ofProxy = proxies.map(({ setting, ordinary, share }) => {
    const meaning = asClause(sentences[setting.proxyKind]);
    const what = `the proxy ${quote(setting.proxyKind)}${meaning && ` (${meaning})`}`;
    const loss = setting.student.rate - ordinary.student.rate;
    if (share !== null && share >= 0.9)
      return `With ${what} the defence does nothing: the student answers ${rateOf(setting.student)}.`;
    if (share !== null && share >= 0.5)
      return `With ${what} most of the defence is lost: the student answers ${rateOf(setting.student)}.`;
    if (Math.abs(loss) <= SLIGHT)
      return `With ${what} it works as well: the student answers ${rateOf(setting.student)}.`;
    return `With ${what} the student answers ${rateOf(setting.student)}, ${points(Math.abs(loss))} ${loss > 0 ? 'more' : 'less'} than with the usual proxy.`;
  });
  const ofWhiteBox = whiteBox.map(({ setting, ordinary }) => {
    return `Where the proxy is the student’s own base (white box), the student answers ${rateOf(setting.student)}, with a foreign proxy ${percent(ordinary.student.rate)}.`;
  });
  return { title: 'What the defence depends on', text: join([...ofProxy, ...ofWhiteBox]) };
}

export function readCertainty({ settings, defended }: Findings): Paragraph | undefined {
  const about = defended ?? settings[0];
  if (!about) return undefined;
  const { points: students, numTeachers, teacher } = about;
  const each = new Set(students.map(({ student }) => student.total));
  const questions =
    each.size === 1
      ? formatCount([...each][0])
      : `${formatCount(Math.min(...each))} to ${formatCount(Math.max(...each))}`;
  const few =
    students.length === 1
      ? 'With one student nothing is known of how much students differ.'
      : numTeachers === 1
        ? 'With one teacher nothing is known of how much teachers differ.'
        : numTeachers < 6 && 'With so few teachers their part of the intervals is itself uncertain.';
  return {
    title: 'How sure is this?',
    text: join([
      `${countOf(students.length, 'student')} of ${countOf(numTeachers, 'teacher')} ${students.length === 1 ? 'stands' : 'stand'} behind the defended numbers, each examined on ` +
        `${questions} questions (${formatCount(teacher.total)} answers in all).`,
      'Intervals are 95 %: on each side the wider of Wilson’s for the pooled answers and a bootstrap over teachers, seeds and answers;',
      'differences are paired by seeds.',
      few,
    ]),
  };
}
