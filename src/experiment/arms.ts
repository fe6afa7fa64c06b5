/** What an arm of the configuration means for sampling, and what it is called. */
import type { ArmConfig, StrengthConfig } from './config.js';
import type { Sampling, Tilt } from './stage.js';

export type TiltedArm = Extract<ArmConfig, { arm: 'antidistillation' | 'permutation' }>;

export const isTilted = (arm: ArmConfig): arm is TiltedArm =>
  arm.arm === 'antidistillation' || arm.arm === 'permutation';

const tiltOf = (arm: TiltedArm): Tilt => ({
  estimator: arm.estimator,
  order: arm.order,
  permuted: arm.arm === 'permutation',
});

/** The tilt that a strength is solved for: that of the arm, or for a permutation that matches λ the one it permutes. */
export function solvedTiltOf(arm: TiltedArm): Tilt {
  const tilt = tiltOf(arm);
  return arm.arm === 'permutation' && arm.match === 'lambda' ? { ...tilt, permuted: false } : tilt;
}

/** The sampler of an arm. A support is bounded at temperature 1: p^(1/τ) ≥ s^(1/τ) · max is p ≥ s · max. */
export function samplingOf(arm: ArmConfig): Sampling {
  switch (arm.arm) {
    case 'greedy':
      return { temperature: 0, minP: 0 };
    case 'temperature':
      return { temperature: arm.temperature, minP: 0 };
    case 'maskedTemperature':
      return masked(arm);
    case 'rule':
      return { ...masked(arm), rule: { words: arm.words, nats: arm.nats } };
    case 'antidistillation':
    case 'permutation':
      return { ...masked(arm), tilt: { ...tiltOf(arm), lambda: lambdaOf(arm.strength) } };
  }
}

/** λ where the configuration gives it. */
export const lambdaOf = (strength: StrengthConfig): number | null => ('lambda' in strength ? strength.lambda : null);

function masked({ temperature, support }: { temperature: number; support: number }): Sampling {
  return { temperature, minP: support ** (1 / temperature) };
}

/** What tables and figures call an arm: `antidistillation, 0.2 nats`. */
export function nameOf(arm: ArmConfig): string {
  if (arm.name !== undefined) return arm.name;
  switch (arm.arm) {
    case 'greedy':
      return 'greedy';
    case 'temperature':
      return `temperature ${arm.temperature}`;
    case 'maskedTemperature':
      return `temperature ${arm.temperature}, masked`;
    case 'rule':
      return `rule: ${arm.words.join(', ')}`;
    case 'antidistillation':
    case 'permutation': {
      const proxy = arm.proxyKind === 'default' ? '' : `, ${arm.proxyKind} proxy`;
      const box = arm.studentKind === 'whiteBox' ? ', white box' : '';
      return `${arm.arm}, ${describeStrength(arm.strength)}${proxy}${box}`;
    }
  }
}

function describeStrength(strength: StrengthConfig): string {
  if ('lambda' in strength) return `λ ${strength.lambda}`;
  if ('budgetNats' in strength) return `${strength.budgetNats} nats`;
  return `${Number((100 * strength.maxAccuracyLoss).toPrecision(3))} points`;
}

/** Settings of an arm for the record: all that is not about students, with its name. */
export function settingsOf(arm: ArmConfig): Record<string, unknown> {
  const { arm: _arm, students: _students, replicates: _replicates, ...settings } = arm;
  const { strength, ...rest } = settings as typeof settings & { strength?: StrengthConfig };
  return { ...rest, ...strength, name: nameOf(arm) };
}
