/** λ from what the teacher may spend, measured on calibration questions. */
import { solveAccuracyLoss } from '../../methods/antidistillation/accuracy-strength.js';
import type { Defence } from '../../methods/antidistillation/defence.js';
import { solveStrength } from '../../methods/antidistillation/strength.js';
import { invariant } from '../../support/errors.js';
import type { Stage, StageResults } from '../stage.js';
import { type AskOptions, ask, forceAnswers } from './ask.js';
import type { StageContext } from './context.js';
import { prepareDefence } from './defend.js';

/** Measurements that a search usually takes: for the display of progress. */
const USUAL_MEASUREMENTS = 8;

interface Measured {
  readonly meanNats: number;
  /** 0–1; measured only where it is asked for. */
  readonly accuracy: number;
}

export async function runStrength(stage: Stage<'strength'>, context: StageContext): Promise<StageResults['strength']> {
  const { inputs, models, needs } = stage;
  const { strength, sampling, tolerance } = inputs;
  const { task, signal } = context;
  const teacher = await context.open(models.teacher);
  const parts = { proxy: models.proxy, gradient: needs.proxy, strength: undefined };
  const { defence, artefact } = await prepareDefence(context, teacher, { tilt: inputs.tilt, parts });
  const questions = await task.questions('calibration', inputs.count);
  const countsAnswers = 'maxAccuracyLoss' in strength;
  let numMeasurements = 0;

  const measure = async (tilted: Pick<Defence, 'companions'> & { lambda: number | undefined }): Promise<Measured> => {
    const { lambda, companions } = tilted;
    const options: AskOptions = {
      ...{ task, signal, seed: inputs.seed, maxTokens: inputs.maxTokens, maxBatch: inputs.maxBatch },
      sampler: { temperature: sampling.temperature, minP: sampling.minP },
      ...(lambda !== undefined && { processors: [defence.tilt(lambda)], companions }),
    };
    const { traces } = await ask(teacher, questions, options);
    numMeasurements += 1;
    context.onProgress(Math.min(1, numMeasurements / USUAL_MEASUREMENTS));
    const nats = traces.flatMap(({ statistics }) => statistics?.klNats ?? []);
    const meanNats = nats.length === 0 ? 0 : nats.reduce((a, b) => a + b, 0) / nats.length;
    if (!countsAnswers) return { meanNats, accuracy: Number.NaN };
    const judgements = await task.judge(await forceAnswers(teacher, { questions, traces }, options), signal);
    return { meanNats, accuracy: judgements.filter(({ isCorrect }) => isCorrect).length / questions.length };
  };
  const { companions } = defence;
  const initial = 1 / artefact.gradientNorm;
  try {
    if ('maxAccuracyLoss' in strength) {
      const { accuracy: plain } = await measure({ lambda: undefined, companions });
      const solved = await solveAccuracyLoss(
        async (lambda) => {
          const { meanNats, accuracy } = await measure({ lambda, companions });
          return { loss: plain - accuracy, nats: meanNats };
        },
        { target: strength.maxAccuracyLoss, initial },
      );
      return { lambda: solved.lambda, measured: solved.loss, isReached: solved.isReached, numMeasurements };
    }
    invariant('budgetNats' in strength, 'a strength that is λ needs no search');
    const { lambda, value, isReached } = await solveStrength(
      async (candidate) => (await measure({ lambda: candidate, companions })).meanNats,
      { target: strength.budgetNats, initial, tolerance, outOfReach: 'bound' },
    );
    return { lambda, measured: value, isReached, numMeasurements };
  } finally {
    defence.dispose();
  }
}
