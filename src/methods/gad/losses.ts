/** What the discriminator minimises, from its scores alone. */

/** `bradleyTerry`: the teacher's response wins against each of the student's. `crossEntropy`: each is told apart alone (an ablation). */
export type DiscriminatorLoss = 'bradleyTerry' | 'crossEntropy';

/** Scores of one prompt's responses. */
export interface GroupScores {
  readonly teacher: number;
  /** [G] */
  readonly students: readonly number[];
}

export interface GroupLoss {
  readonly lossNats: number;
  /** Of the pairs, those in which the teacher's response scores higher; a tie counts half. */
  readonly accuracy: number;
  /** ∂loss/∂score of the teacher's response, and of each of the student's. */
  readonly teacherGradient: number;
  readonly studentGradients: readonly number[];
}

/**
 * Loss of one group of G student responses and its derivative by each score, in float64:
 * Bradley–Terry mean_i −ln σ(D(y_t) − D(y_i)); cross-entropy ½·(−ln σ(D(y_t)) + mean_i −ln σ(−D(y_i))).
 * @see arXiv 2511.10643, eq. 1 and 3
 */
export function discriminatorLoss(kind: DiscriminatorLoss, { teacher, students }: GroupScores): GroupLoss {
  const size = students.length;
  const accuracy = mean(students.map((score) => (teacher > score ? 1 : teacher === score ? 0.5 : 0)));
  if (kind === 'bradleyTerry') {
    const studentGradients = students.map((score) => sigmoid(score - teacher) / size);
    return {
      lossNats: mean(students.map((score) => softplus(score - teacher))),
      accuracy,
      teacherGradient: -studentGradients.reduce((sum, value) => sum + value, 0),
      studentGradients,
    };
  }
  return {
    lossNats: 0.5 * (softplus(-teacher) + mean(students.map(softplus))),
    accuracy,
    teacherGradient: -0.5 * sigmoid(-teacher),
    studentGradients: students.map((score) => (0.5 * sigmoid(score)) / size),
  };
}

/**
 * Group-relative advantages A_i = (r_i − mean r) / std r, with the standard deviation of a sample (n − 1); all 0 where the rewards are equal.
 * @see GRPO, arXiv 2402.03300, section 4.1.2
 */
export function groupAdvantages(rewards: readonly number[]): number[] {
  const spread = sampleStandardDeviation(rewards);
  const center = mean(rewards);
  // As in verl: a group of nearly equal rewards is divided by little, so that rounding becomes no signal.
  return rewards.map((reward) => (spread === 0 ? 0 : (reward - center) / (spread + 1e-6)));
}

/** √(Σ(x − mean)²/(n − 1)); 0 for fewer than two numbers. */
export function sampleStandardDeviation(values: readonly number[]): number {
  if (values.length < 2) return 0;
  const center = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - center) ** 2, 0) / (values.length - 1));
}

/** The arithmetic mean; NaN of nothing. */
export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

const sigmoid = (x: number): number => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));

/** ln(1 + eˣ) without overflow. */
const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
