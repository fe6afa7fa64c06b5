/** The result in plain words. Every word follows from the numbers; what was not measured is said to be missing. */
import type { Details } from '../experiment/records.js';
import type { Findings, Recovery } from './findings.js';
import { countOf, formatCount, formatNumber, formatPercent, listOf, percent, points } from './format.js';
import {
  type Paragraph,
  readAttacks,
  readCertainty,
  readControl,
  readEffect,
  readLonger,
  readProxies,
  readRules,
} from './paragraphs.js';
import type { Estimate } from './settings.js';
import { byRate, gapBounds, join, quote, SLIGHT, timesAsLong } from './words.js';

interface Tile {
  readonly name: string;
  readonly value: string;
  readonly note: string;
  /** Whether it speaks for the defence or against it. */
  readonly tone?: 'good' | 'bad' | 'caution';
}

export interface Reading {
  /** One sentence. */
  readonly headline: string;
  /** What must be said in the same breath: whether the defence can be undone, and what it hangs on. Empty before there is a result. */
  readonly verdict: string;
  readonly tiles: readonly Tile[];
  readonly paragraphs: readonly Paragraph[];
}

/** A gap below this is called small, in 0–1. */
const SMALL = 0.1;

/** What a run found, for a reader who knows none of the terms. */
export function readResult(findings: Findings, { glossary, task }: Pick<Details, 'glossary' | 'task'>): Reading {
  const written = [
    readEffect(findings, task.chance),
    readControl(findings),
    readLonger(findings),
    readAttacks(findings, glossary?.attacks ?? {}),
    readRules(findings),
    readProxies(findings, glossary?.proxyKinds ?? {}),
    readCertainty(findings),
  ];
  return {
    headline: readHeadline(findings),
    verdict: findings.gap && findings.gap.lower > 0 ? join([readUndoing(findings), readDependence(findings)]) : '',
    tiles: makeTiles(findings),
    paragraphs: written.filter((paragraph) => paragraph !== undefined),
  };
}

function readHeadline(findings: Findings): string {
  const { settings, defended, undefended, gap, plain } = findings;
  if (settings.length === 0) return 'No student has been measured yet.';
  if (!defended || !undefended || !gap)
    return 'Antidistillation sampling has not been measured beside plain sampling yet.';
  if (gap.lower <= 0) {
    const ofPlain =
      plain && plain !== undefended ? `; the student of plain sampling reaches ${percent(plain.student.rate)}` : '';
    return (
      `Antidistillation sampling made no difference that this run can show beside “${undefended.name}”: students of its traces reach ` +
      `${percent(defended.student.rate)}, of those ${percent(undefended.student.rate)}${ofPlain}.`
    );
  }
  const effect =
    `students of antidistilled traces reach ${percent(defended.student.rate)}, ` +
    `students of undefended traces ${percent(undefended.student.rate)}`;
  return `${teacherPrice(findings)} ${effect}${gap.value < SMALL ? ': a small difference' : ''}.`;
}

function teacherPrice({ defended, plain, maskedPlain, isTeacherKept }: Findings): string {
  const base = plain ?? maskedPlain;
  if (!defended || !base) return 'Under the defence,';
  return isTeacherKept
    ? 'While the teacher answers as well as before,'
    : `At a price of ${points(base.teacher.rate - defended.teacher.rate)} of the teacher's own accuracy,`;
}

function readUndoing({ attacks, longer, defended }: Findings): string {
  const here = attacks.filter(({ ordinary }) => ordinary === defended);
  const undoing = byRate([...here, ...longer].filter(({ verdict }) => verdict === 'undone'));
  if (undoing.length > 0) {
    const [strongest] = undoing;
    const how =
      strongest.setting.attack === null ? `trained ${timesAsLong(strongest.setting)}` : quote(strongest.setting.attack);
    const others = undoing.length > 1 ? ` (and ${formatCount(undoing.length - 1)} more)` : '';
    return `But the defence can be undone: an adaptive student, ${how}, reaches ${percent(strongest.setting.student.rate)}${others}.`;
  }
  if (here.length === 0) return 'Whether an adaptive student can undo this was not measured.';
  const weakening = here.filter(({ verdict }) => verdict === 'weakened').length;
  const tail =
    weakening > 0 ? `, though ${formatCount(weakening)} of them ${weakening === 1 ? 'weakens' : 'weaken'} it` : '';
  return `None of the ${countOf(here.length, 'adaptive student')} tried undoes this${tail}.`;
}

function readDependence({ proxies }: Findings): string | undefined {
  const lost = proxies.filter(({ verdict }) => verdict === 'undone').map(({ setting }) => quote(setting.proxyKind));
  const kinds = [...new Set(lost)];
  return kinds.length > 0
    ? `It depends on the proxy: made with ${listOf(kinds)} instead, it loses most or all of its effect.`
    : undefined;
}

function makeTiles({
  defended,
  undefended,
  plain,
  maskedPlain,
  gap,
  isTeacherKept,
  attacks,
  longer,
}: Findings): Tile[] {
  const base = plain ?? maskedPlain;
  const tiles: Tile[] = [];
  const bounds = ({ interval }: Estimate) => `${formatPercent(interval.lower)}–${formatPercent(interval.upper)} %`;
  if (!defended) return tiles;
  tiles.push({
    name: 'Teacher, defended',
    value: percent(defended.teacher.rate),
    note: base ? `plain sampling ${percent(base.teacher.rate)}` : bounds(defended.teacher),
    tone: isTeacherKept ? 'good' : 'bad',
  });
  if (undefended)
    tiles.push({
      name: 'Student, undefended',
      value: percent(undefended.student.rate),
      note: [bounds(undefended.student), plain && plain !== undefended && `plain ${percent(plain.student.rate)}`]
        .filter(Boolean)
        .join('; '),
    });
  tiles.push({ name: 'Student, defended', value: percent(defended.student.rate), note: bounds(defended.student) });
  if (gap)
    tiles.push({
      name: 'Gap',
      value: points(gap.value),
      note: gapBounds(gap),
      tone: gap.lower > SLIGHT ? 'good' : 'bad',
    });
  const last = longer.at(-1);
  if (last)
    tiles.push({
      name: `Defended, trained ${formatNumber(last.multiple)} ×`,
      value: percent(last.setting.student.rate),
      note: bounds(last.setting.student),
      tone: toneOf(last),
    });
  const [strongest] = byRate(attacks.filter(({ ordinary }) => ordinary === defended));
  if (strongest)
    tiles.push({
      name: 'Best adaptive student',
      value: percent(strongest.setting.student.rate),
      note: `${quote(strongest.setting.attack ?? '')}: ${{ undone: 'undoes it', weakened: 'weakens it', holds: 'does not undo it' }[strongest.verdict]}`,
      tone: toneOf(strongest),
    });
  return tiles;
}

const toneOf = ({ verdict }: Recovery): NonNullable<Tile['tone']> =>
  (({ undone: 'bad', weakened: 'caution', holds: 'good' }) as const)[verdict];
