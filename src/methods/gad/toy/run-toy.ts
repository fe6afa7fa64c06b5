/**
 * The paper's toy: a teacher with several modes, a student that can have one. Maximum likelihood on the teacher's samples covers
 * all modes; a student that is scored on its own samples by a discriminator trained beside it settles on one.
 * @see arXiv 2511.10643, section 4 ("mode-seeking")
 *
 * Differs from the paper: its figure gives no settings; these are ours. The discriminator is a table of one score a class.
 */
import { createRandom, deriveSeed } from '../../../support/random.js';
import { discriminatorLoss, mean } from '../losses.js';
import {
  drawClass,
  type Gaussian,
  gaussianProbabilities,
  logProbabilityGradient,
  type Mode,
  massOfModes,
  mixtureProbabilities,
  NUM_CLASSES,
} from './distributions.js';

export interface ToySettings {
  readonly seed: number;
  readonly numSteps: number;
}

export interface ToyResult {
  readonly modes: readonly Mode[];
  readonly teacher: readonly number[];
  /** Final probabilities of the students. */
  readonly gad: readonly number[];
  readonly seqkd: readonly number[];
  /** Largest mass that a student has on one mode. */
  readonly gadModeMass: number;
  readonly seqkdModeMass: number;
  readonly numSteps: number;
  /** Largest mass on a mode as the steps went on. */
  readonly curve: readonly { readonly step: number; readonly gadModeMass: number; readonly seqkdModeMass: number }[];
}

const MODES: readonly Mode[] = [
  { center: 3, width: 1, weight: 0.7 },
  { center: 8, width: 0.6, weight: 0.3 },
];
/**
 * Both students start between the modes. From a flat start (width 3) the reverse KL has a second, broad optimum nearby, in which
 * a student that takes small steps stays.
 */
const START: Gaussian = { center: 4.5, logWidth: Math.log(1.5) };
const BATCH_SIZE = 64;
const LEARNING_RATE = 0.05;
const DISCRIMINATOR_RATE = 0.5;
const CURVE_POINTS = 50;

/** Trains both students on the same number of the teacher's samples. Deterministic in the seed. */
export function runToy({ seed, numSteps }: ToySettings): ToyResult {
  const teacher = mixtureProbabilities(MODES);
  const random = createRandom(deriveSeed(seed, 'toy'));
  const scores = new Array<number>(NUM_CLASSES).fill(0);
  let gad = START;
  let seqkd = START;
  const modeMass = (gaussian: Gaussian) => Math.max(...massOfModes(gaussianProbabilities(gaussian), MODES));
  const curve: ToyResult['curve'][number][] = [];
  const draw = (probabilities: readonly number[]) =>
    Array.from({ length: BATCH_SIZE }, () => drawClass(probabilities, random));

  for (let step = 1; step <= numSteps; step++) {
    const shown = draw(teacher);
    seqkd = ascend(
      seqkd,
      shown,
      shown.map(() => 1),
    );
    const answers = draw(gaussianProbabilities(gad));
    const rewards = answers.map((k) => scores[k]);
    updateScores(scores, shown, answers);
    gad = ascend(
      gad,
      answers,
      rewards.map((reward) => reward - mean(rewards)),
    );
    if (step % Math.max(1, Math.floor(numSteps / CURVE_POINTS)) === 0) {
      curve.push({ step, gadModeMass: modeMass(gad), seqkdModeMass: modeMass(seqkd) });
    }
  }
  return {
    modes: MODES,
    teacher,
    gad: gaussianProbabilities(gad),
    seqkd: gaussianProbabilities(seqkd),
    gadModeMass: modeMass(gad),
    seqkdModeMass: modeMass(seqkd),
    numSteps,
    curve,
  };
}

/** One step along mean_i weight_i·∇ln p(k_i): maximum likelihood with weights 1, REINFORCE with advantages. */
function ascend(gaussian: Gaussian, classes: readonly number[], weights: readonly number[]): Gaussian {
  const probabilities = gaussianProbabilities(gaussian);
  let { center, logWidth } = gaussian;
  classes.forEach((k, at) => {
    const gradient = logProbabilityGradient(gaussian, probabilities, k);
    center += (LEARNING_RATE * weights[at] * gradient.center) / classes.length;
    logWidth += (LEARNING_RATE * weights[at] * gradient.logWidth) / classes.length;
  });
  return { center, logWidth };
}

/** One step of the discriminator's table down the Bradley–Terry loss; each of the teacher's samples is a group with all of the student's. */
function updateScores(scores: number[], shown: readonly number[], answers: readonly number[]): void {
  const students = answers.map((k) => scores[k]);
  const gradient = scores.map(() => 0);
  for (const k of new Set(shown)) {
    const share = shown.filter((other) => other === k).length / shown.length;
    const { teacherGradient, studentGradients } = discriminatorLoss('bradleyTerry', { teacher: scores[k], students });
    gradient[k] += share * teacherGradient;
    studentGradients.forEach((value, at) => {
      gradient[answers[at]] += share * value;
    });
  }
  gradient.forEach((value, k) => {
    scores[k] -= DISCRIMINATOR_RATE * value;
  });
}
