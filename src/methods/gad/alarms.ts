/** Signs that a run goes wrong, from its history alone. */
import { median } from '../../support/statistics.js';
import { mean } from './losses.js';

/** What a step did; null where it has no such number. Adversarial steps have rewards and responses. */
export interface StepRow {
  readonly step: number;
  readonly phase: 'warmup' | 'adversarial';
  readonly epoch: number;
  /** Mean over the responses of the discriminator's score. */
  readonly rewardMean: number | null;
  /** Mean of its score of the teacher's responses. */
  readonly teacherRewardMean: number | null;
  /** Mean over groups of the standard deviation of their rewards. */
  readonly groupRewardSpread: number | null;
  readonly discriminatorLossNats: number | null;
  readonly discriminatorAccuracy: number | null;
  readonly discriminatorGradientNorm: number | null;
  /** −ln p a token of the teacher's responses in the warm-up, the surrogate in adversarial steps; null where the student stood still. */
  readonly studentLossNats: number | null;
  readonly studentGradientNorm: number | null;
  /** Updates of the student: 0 where it stood still. */
  readonly studentUpdates: number;
  readonly klNats: number | null;
  readonly clippedFraction: number | null;
  readonly samplingDifferenceNats: number | null;
  /** Mean of −ln π(token) over what was drawn: an estimate of the entropy at the rollouts' temperature. */
  readonly entropyNats: number | null;
  readonly responseLength: number | null;
  readonly teacherLength: number;
  readonly finishedFraction: number | null;
  /** Mean ROUGE-L of the responses to the teacher's, over tokens: a diagnostic of copying. */
  readonly rougeL: number | null;
  readonly numTokens: number;
  readonly validation: Validation | null;
  readonly rolloutMs: number;
  readonly scoreMs: number;
  readonly studentMs: number;
  readonly discriminatorMs: number;
}

/** Score on the validation split: successes and trials. */
export interface Validation {
  readonly correct: number;
  readonly total: number;
}

type AlarmKind = 'discriminatorWins' | 'lengthDrift' | 'rewardHacking' | 'collapsedGroups';

export interface Alarm {
  readonly kind: AlarmKind;
  readonly step: number;
  /** What was seen and what to change. */
  readonly message: string;
}

const WINNING_ACCURACY = 0.95;
const WINNING_STEPS = 50;
const LENGTH_FACTOR = 2;
/** Steps that are averaged for a length or a spread. */
const WINDOW = 10;
/** A spread below this share of what it was at first is none. */
const COLLAPSED_SHARE = 0.01;
/** Standard errors of the difference of two validation scores. */
const FALL_ERRORS = 2;

/** The alarms that hold at the last step of a history. Only adversarial steps are looked at. */
export function findAlarms(history: readonly StepRow[]): Alarm[] {
  const rows = history.filter(({ phase }) => phase === 'adversarial');
  const last = rows.at(-1);
  if (last === undefined) return [];
  const messages: [AlarmKind, string | undefined][] = [
    ['discriminatorWins', winning(rows)],
    ['lengthDrift', drifting(rows)],
    ['rewardHacking', hacking(rows)],
    ['collapsedGroups', collapsed(rows)],
  ];
  return messages.flatMap(([kind, message]) =>
    message === undefined ? [] : [{ kind, step: last.step, message: `Step ${last.step}: ${message}` }],
  );
}

function winning(rows: readonly StepRow[]): string | undefined {
  const recent = rows.slice(-WINNING_STEPS);
  if (recent.length < WINNING_STEPS || recent.some((row) => !(row.discriminatorAccuracy! > WINNING_ACCURACY)))
    return undefined;
  return `the discriminator has told the teacher from the student in more than ${100 * WINNING_ACCURACY} % of the pairs for ${WINNING_STEPS} steps; its scores say little about what is better. Lower discriminator.learningRate, raise learningRate or warmup.epochs, or set discriminator.dropout or gradientPenalty.`;
}

function drifting(rows: readonly StepRow[]): string | undefined {
  if (rows.length < 2 * WINDOW) return undefined;
  const lengthOf = (part: readonly StepRow[]) => mean(part.map(({ responseLength }) => responseLength!));
  const first = lengthOf(rows.slice(0, WINDOW));
  const now = lengthOf(rows.slice(-WINDOW));
  if (now <= LENGTH_FACTOR * first && now >= first / LENGTH_FACTOR) return undefined;
  return `responses are ${now.toFixed(1)} tokens long, at first they were ${first.toFixed(1)}: length is being rewarded. Raise klWeight, lower learningRate, or keep the discriminator on-policy (discriminator.isFrozen false).`;
}

/**
 * The student gains on the teacher in the discriminator's eyes while the validation score lies significantly below its best: by more
 * than two standard errors of the difference, √(2·p(1 − p)/n), p the mean of both. Scores are compared with the teacher's, since
 * Bradley–Terry leaves their level open.
 */
function hacking(rows: readonly StepRow[]): string | undefined {
  const evaluated = rows.flatMap((row, at) => (row.validation === null ? [] : [{ ...row.validation, at }]));
  const now = evaluated.at(-1);
  if (now === undefined || now.at !== rows.length - 1 || evaluated.length < 2) return undefined;
  const shareOf = ({ correct, total }: Validation) => correct / total;
  const best = evaluated.reduce((top, one) => (shareOf(one) > shareOf(top) ? one : top));
  const pooled = (shareOf(best) + shareOf(now)) / 2;
  const error = Math.sqrt((2 * pooled * (1 - pooled)) / now.total);
  const marginAt = (at: number) =>
    mean(rows.slice(Math.max(0, at + 1 - WINDOW), at + 1).map((row) => row.rewardMean! - row.teacherRewardMean!));
  if (shareOf(best) - shareOf(now) <= FALL_ERRORS * error || marginAt(now.at) <= marginAt(best.at)) return undefined;
  return `the reward rises while the validation score falls, from ${best.correct} to ${now.correct} of ${now.total} since step ${rows[best.at].step}: the student has learnt to please the discriminator. Update the discriminator on-policy (discriminator.isFrozen false), raise its learningRate or klWeight, and take the checkpoint of the best validation score.`;
}

function collapsed(rows: readonly StepRow[]): string | undefined {
  const recent = rows.slice(-WINDOW);
  if (rows.length < 2 * WINDOW) return undefined;
  const first = median(rows.slice(0, WINDOW).map(({ groupRewardSpread }) => groupRewardSpread!));
  if (recent.some(({ groupRewardSpread }) => groupRewardSpread! > COLLAPSED_SHARE * first)) return undefined;
  return `the responses to a prompt have had equal rewards for ${WINDOW} steps: the student says one thing only, and learns nothing. Raise temperature or groupSize, or lower learningRate.`;
}
