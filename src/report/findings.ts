/** What a run found: which settings are compared with which, and how far apart they are. No words, no figures. */
import type { Tradeoff } from '../experiment/records.js';
import { type Estimate, estimate, type Gap, gapBetween, groupSettings, isOrdinary, type Setting } from './settings.js';

/** Two teachers answer equally well where their accuracies differ by no more than this. */
export const SAME_TEACHER = 0.03;
const UNDONE_SHARE = 0.5;
const WEAKENED_SHARE = 0.1;

type Verdict = 'undone' | 'weakened' | 'holds';

/** A student that got more, or knew more, than an ordinary one, under the same defence. */
export interface Recovery {
  readonly setting: Setting;
  /** The ordinary student of the same defence. */
  readonly ordinary: Setting;
  /** Part of what the defence took that the student has again: 0 nothing, 1 all; null where the defence took next to nothing. */
  readonly share: number | null;
  readonly verdict: Verdict;
}

export interface Longer extends Recovery {
  readonly multiple: number;
  /** The undefended student trained for as long, and how far it lies above. */
  readonly undefended: Setting | undefined;
  readonly gap: Gap | undefined;
}

export interface Findings {
  readonly settings: readonly Setting[];
  /** Students that have seen no trace. */
  readonly undistilled: Estimate | undefined;
  /** Plain sampling at the run's own temperature. */
  readonly plain: Setting | undefined;
  /** The same with the support bounded; absent where it was measured at other temperatures only. */
  readonly maskedPlain: Setting | undefined;
  /** The defence that the text is about: of those that cost the teacher little the one that the run examines most closely. */
  readonly defended: Setting | undefined;
  /** Whether its teacher is within `SAME_TEACHER` of plain sampling. */
  readonly isTeacherKept: boolean;
  /** What it is compared with: of undefended settings whose teacher is as good the one with the weakest student. */
  readonly undefended: Setting | undefined;
  readonly gap: Gap | undefined;
  readonly permuted:
    | { readonly setting: Setting; readonly lossAgainstPlain: Gap | undefined; readonly aboveDefended: Gap | undefined }
    | undefined;
  readonly rules: readonly { readonly setting: Setting; readonly aboveDefended: Gap | undefined }[];
  readonly longer: readonly Longer[];
  readonly attacks: readonly Recovery[];
  readonly whiteBox: readonly Recovery[];
  /** The same defence made with other proxies. */
  readonly proxies: readonly Recovery[];
}

/** Compares what a run measured; everything that it has not measured (yet) is absent. */
export function findResults({ points, undistilled }: Pick<Tradeoff, 'points' | 'undistilled'>): Findings {
  const settings = groupSettings(points);
  const ordinary = settings.filter(isOrdinary);
  const tilted = ordinary.filter(({ arm }) => arm === 'antidistillation');
  const baseTemperature = tilted[0]?.settings.temperature ?? 1;
  const atBase = (arm: Setting['arm']) =>
    ordinary
      .filter((setting) => setting.arm === arm)
      .sort((a, b) => distance(a.strength, baseTemperature) - distance(b.strength, baseTemperature))[0];
  const plain = atBase('temperature');
  const masked = atBase('maskedTemperature');
  const maskedPlain = masked?.strength === baseTemperature ? masked : undefined;

  const base = plain ?? maskedPlain;
  const isKept = (setting: Setting) => base === undefined || setting.teacher.rate >= base.teacher.rate - SAME_TEACHER;
  const defended = chooseDefended(tilted, { settings, isKept });
  const undefended = defended && chooseUndefended(ordinary, defended);

  const recover = (setting: Setting): Recovery | undefined => {
    const twin = ordinary.find(({ samplerKey }) => samplerKey === setting.samplerKey) ?? defended;
    return twin && { setting, ordinary: twin, ...judge(setting, { twin, undefended }) };
  };
  const recoveries = (isMeant: (setting: Setting) => boolean): Recovery[] =>
    settings
      .filter((setting) => setting.arm === 'antidistillation' && isMeant(setting))
      .flatMap((setting) => recover(setting) ?? [])
      .sort((a, b) => Number(b.ordinary === defended) - Number(a.ordinary === defended));
  const permuted = choosePermuted(ordinary, defended);
  return {
    settings,
    undistilled: undistilled.length > 0 ? estimate(undistilled) : undefined,
    plain,
    maskedPlain,
    defended,
    isTeacherKept: defended !== undefined && isKept(defended),
    undefended,
    gap: defended && undefended && gapBetween(undefended, defended),
    permuted: permuted && {
      setting: permuted,
      lossAgainstPlain: base && gapBetween(maskedPlain ?? base, permuted),
      aboveDefended: defended && gapBetween(permuted, defended),
    },
    rules: ordinary
      .filter(({ arm }) => arm === 'rule')
      .map((setting) => ({ setting, aboveDefended: defended && gapBetween(setting, defended) })),
    longer: recoveries(
      (setting) => setting.trainingMultiple !== 1 && isDefaultProxy(setting) && setting.attack === null,
    )
      .filter(({ ordinary: twin }) => twin === defended)
      .map((recovery) => compareLonger(recovery, { settings, undefended })),
    attacks: recoveries(({ attack }) => attack !== null),
    whiteBox: recoveries(
      ({ studentKind, attack, trainingMultiple }) =>
        studentKind === 'whiteBox' && attack === null && trainingMultiple === 1,
    ),
    proxies: recoveries(
      ({ proxyKind, attack, trainingMultiple }) => proxyKind !== 'default' && attack === null && trainingMultiple === 1,
    ),
  };
}

/** The more students of other kinds a setting has, the more there is to say about it; among equals the strongest. */
function chooseDefended(
  tilted: readonly Setting[],
  { settings, isKept }: { settings: readonly Setting[]; isKept: (setting: Setting) => boolean },
): Setting | undefined {
  const numVariants = ({ samplerKey }: Setting) => settings.filter((other) => other.samplerKey === samplerKey).length;
  const kept = tilted.filter(isKept);
  if (kept.length === 0) return [...tilted].sort((a, b) => b.teacher.rate - a.teacher.rate)[0];
  return kept.sort((a, b) => numVariants(b) - numVariants(a) || b.strength - a.strength)[0];
}

function chooseUndefended(ordinary: readonly Setting[], defended: Setting): Setting | undefined {
  const masked = ordinary.filter(({ arm }) => arm === 'maskedTemperature');
  const candidates = masked.length > 0 ? masked : ordinary.filter(({ arm }) => arm === 'temperature');
  const away = ({ teacher }: Setting) => Math.abs(teacher.rate - defended.teacher.rate);
  const alike = candidates.filter((setting) => away(setting) <= SAME_TEACHER);
  if (alike.length > 0) return alike.sort((a, b) => a.student.rate - b.student.rate)[0];
  return [...candidates].sort((a, b) => away(a) - away(b))[0];
}

/** The control of the same strength, or else the strongest. */
function choosePermuted(ordinary: readonly Setting[], defended: Setting | undefined): Setting | undefined {
  const permuted = ordinary.filter(({ arm }) => arm === 'permutation');
  return permuted.find(({ strength }) => strength === defended?.strength) ?? permuted.at(-1);
}

/**
 * Undone: the student has half of what the defence took again. Weakened: a tenth, by more than chance (intervals disjoint).
 */
function judge(
  setting: Setting,
  { twin, undefended }: { twin: Setting; undefended: Setting | undefined },
): Pick<Recovery, 'share' | 'verdict'> {
  const taken = (undefended?.student.rate ?? 0) - twin.student.rate;
  if (taken < 0.05) return { share: null, verdict: 'holds' };
  const share = (setting.student.rate - twin.student.rate) / taken;
  if (share >= UNDONE_SHARE) return { share, verdict: 'undone' };
  const isBeyondChance = setting.student.interval.lower > twin.student.interval.upper;
  return { share, verdict: share >= WEAKENED_SHARE && isBeyondChance ? 'weakened' : 'holds' };
}

function compareLonger(
  recovery: Recovery,
  { settings, undefended }: { settings: readonly Setting[]; undefended: Setting | undefined },
): Longer {
  const { trainingMultiple: multiple } = recovery.setting;
  const asLong = settings.filter(
    (setting) => setting.trainingMultiple === multiple && setting.attack === null && setting.arm === undefended?.arm,
  );
  const other = asLong.find(({ samplerKey }) => samplerKey === undefended?.samplerKey) ?? asLong[0];
  return { ...recovery, multiple, undefended: other, gap: other && gapBetween(other, recovery.setting) };
}

const isDefaultProxy = ({ proxyKind, studentKind }: Setting): boolean =>
  proxyKind === 'default' && studentKind === 'blackBox';

const distance = (value: number, target: unknown): number =>
  Math.abs(value - (typeof target === 'number' ? target : 1));
