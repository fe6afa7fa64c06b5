/** Scores responses and learns from them. */
import { deriveSeed, uniformAt } from '../../support/random.js';
import { planLengths } from '../../training/batches.js';
import type { NamedArrays } from '../../training/bound-batches.js';
import { createForwardPass, type ForwardPass } from '../../training/forward-pass.js';
import { createOptimizer, type Optimizer } from '../../training/optimizer.js';
import { createObjectiveStep, type StepResult } from '../../training/step.js';
import type { GadConfig } from './config.js';
import type { Discriminator, ScoredRow } from './discriminator.js';
import { discriminatorObjective } from './discriminator-objective.js';
import { discriminatorLoss, type GroupScores, mean } from './losses.js';
import { createSpectralState, type SpectralState } from './spectral.js';

/** The responses to one prompt. */
export interface ResponseGroup {
  readonly teacher: ScoredRow;
  readonly students: readonly ScoredRow[];
}

interface DiscriminatorUpdate extends StepResult {
  /** Of the pairs, those in which the teacher's response scored higher, before the update. */
  readonly accuracy: number;
}

export interface DiscriminatorTrainer {
  readonly optimizer: Optimizer;
  /** Power iteration, where matrices are normalised. */
  readonly spectral: SpectralState | undefined;
  /** Scores of every response of each group, without dropout. */
  score(groups: readonly ResponseGroup[]): Promise<GroupScores[]>;
  /** One update on groups whose scores at the present weights are known; `step` decides dropout. */
  update(
    groups: readonly ResponseGroup[],
    scores: readonly GroupScores[],
    options: { step: number; learningRate: number },
  ): Promise<DiscriminatorUpdate>;
  dispose(): void;
}

type Settings = Pick<GadConfig, 'discriminator' | 'microBatchTokens' | 'seed'>;

/** Loss and accuracy of groups: the mean over groups. */
export function groupStatistics(kind: GadConfig['discriminator']['loss'], scores: readonly GroupScores[]) {
  const losses = scores.map((group) => discriminatorLoss(kind, group));
  return {
    losses,
    lossNats: mean(losses.map(({ lossNats }) => lossNats)),
    accuracy: mean(losses.map(({ accuracy }) => accuracy)),
  };
}

export function createDiscriminatorTrainer(
  discriminator: Discriminator,
  { discriminator: config, microBatchTokens, seed }: Settings,
  random: { normal(): number },
): DiscriminatorTrainer {
  const { runtime } = discriminator.compiler;
  const { parameters, featureWidth } = discriminator;
  const spectral = config.spectralNormalization ? createSpectralState(runtime, parameters, random) : undefined;
  const hasDropout = config.dropout > 0;
  const hasPenalty = config.gradientPenalty > 0;
  const plain = discriminatorObjective(discriminator, { spectral, hasDropout: false, hasPenalty: false });
  const trained = discriminatorObjective(discriminator, { spectral, hasDropout, hasPenalty });
  const specs = [...parameters].map(([name, { shape }]) => ({ name, shape }));
  const optimizer = createOptimizer(runtime, specs, config);
  const pass = createForwardPass<NamedArrays>(plain);
  const droppedPass = hasDropout ? createForwardPass<NamedArrays>(trained) : undefined;
  const trainingStep = createObjectiveStep<NamedArrays>(trained, optimizer, config);

  /** Features kept, scaled so that their expectation stays: a function of step, row and feature. */
  const fillDropout = (dropout: Float32Array, partRows: readonly number[], step: number) => {
    const draws = deriveSeed(seed, 'dropout', step);
    partRows.forEach((row, at) => {
      for (let feature = 0; feature < featureWidth; feature++) {
        const isKept = uniformAt(draws, row * featureWidth + feature) >= config.dropout;
        dropout[at * featureWidth + feature] = isKept ? 1 / (1 - config.dropout) : 0;
      }
    });
  };
  const planned = (rows: readonly ScoredRow[]) =>
    planLengths(
      rows.map(({ tokens }) => tokens.length),
      rows.map((_, row) => row),
      microBatchTokens,
    );
  const scoreRows = async (
    through: ForwardPass<NamedArrays>,
    rows: readonly ScoredRow[],
    step: number | undefined,
  ): Promise<number[]> => {
    const scores = new Array<number>(rows.length);
    for (const part of planned(rows)) {
      await through.run({
        batch: part.batch,
        time: part.time,
        fill(arrays) {
          discriminator.fill(rows, part, arrays);
          if (step !== undefined) fillDropout(arrays.dropout as Float32Array, part.rows, step);
        },
        read(outputs) {
          part.rows.forEach((row, at) => {
            scores[row] = Number(outputs.scores[at]);
          });
        },
      });
    }
    return scores;
  };

  return {
    optimizer,
    spectral,
    score: async (groups) => grouped(groups, await scoreRows(pass, flatten(groups), undefined)),
    async update(groups, scores, { step, learningRate }) {
      const rows = flatten(groups);
      const seen = droppedPass === undefined ? scores : grouped(groups, await scoreRows(droppedPass, rows, step));
      const { losses, lossNats, accuracy } = groupStatistics(config.loss, seen);
      const coefficients = losses.flatMap(({ teacherGradient, studentGradients }) => [
        teacherGradient,
        ...studentGradients,
      ]);
      const parts = planned(rows).map((part) => ({
        batch: part.batch,
        time: part.time,
        fill(arrays: NamedArrays) {
          discriminator.fill(rows, part, arrays);
          const of = arrays.coefficients as Float32Array;
          of.fill(0);
          part.rows.forEach((row, at) => {
            of[at] = coefficients[row] / groups.length;
          });
          if (hasPenalty) {
            const weights = arrays.penaltyWeights as Float32Array;
            weights.fill(0);
            weights.fill(config.gradientPenalty / rows.length, 0, part.rows.length);
          }
          if (hasDropout) fillDropout(arrays.dropout as Float32Array, part.rows, step);
        },
      }));
      const { gradientNorm } = await trainingStep.run(parts, learningRate);
      spectral?.iterate();
      return { lossNats, accuracy, gradientNorm };
    },
    dispose() {
      for (const part of [pass, droppedPass, trainingStep, optimizer, spectral]) part?.dispose();
    },
  };
}

/** Rows of all groups: the teacher's, then the student's, group after group. */
const flatten = (groups: readonly ResponseGroup[]): ScoredRow[] =>
  groups.flatMap(({ teacher, students }) => [teacher, ...students]);

/** Their scores as groups. */
function grouped(groups: readonly ResponseGroup[], scores: readonly number[]): GroupScores[] {
  let at = 0;
  return groups.map(({ students }) => {
    const teacher = scores[at];
    const own = scores.slice(at + 1, at + 1 + students.length);
    at += 1 + students.length;
    return { teacher, students: own };
  });
}
