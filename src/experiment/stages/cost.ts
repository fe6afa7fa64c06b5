/** Tokens a second of each arm beside plain sampling, in turns, so that a busy machine slows both alike. */
import { median } from '../../support/statistics.js';
import type { Stage, StageResults } from '../stage.js';
import { ask } from './ask.js';
import type { StageContext } from './context.js';
import { prepareSampling } from './defend.js';

export async function runCost(stage: Stage<'cost'>, context: StageContext): Promise<StageResults['cost']> {
  const { inputs, models, needs } = stage;
  const { task, signal } = context;
  const teacher = await context.open(models.teacher);
  const questions = await task.questions('distil', inputs.count);
  const common = { task, signal, seed: inputs.seed, maxTokens: inputs.maxTokens, maxBatch: inputs.maxBatch };
  const secondsPerToken = async (sampling: Omit<Parameters<typeof ask>[2], keyof typeof common>): Promise<number> => {
    const { stats } = await ask(teacher, questions, { ...common, ...sampling });
    return stats.durationMs / 1000 / stats.numTokens;
  };
  const plain = { sampler: { temperature: 1 } };
  const plainSeconds: number[] = [];
  const arms: { tokensPerSecond: number; relativeToPlain: number }[] = [];
  for (const [index, sampling] of inputs.arms.entries()) {
    const parts = {
      proxy: models[`proxy${index}`],
      gradient: needs[`proxy${index}`],
      strength: needs[`strength${index}`],
    };
    const prepared = await prepareSampling(context, teacher, { sampling, parts });
    try {
      await secondsPerToken(plain); // compiles what is not compiled yet
      await secondsPerToken(prepared);
      const seconds: number[] = [];
      const ratios: number[] = [];
      for (let round = 0; round < inputs.rounds; round++) {
        const beside = await secondsPerToken(plain);
        seconds.push(await secondsPerToken(prepared));
        plainSeconds.push(beside);
        ratios.push(seconds.at(-1)! / beside);
        context.onProgress((index + (round + 1) / inputs.rounds) / inputs.arms.length);
      }
      arms.push({ tokensPerSecond: 1 / median(seconds), relativeToPlain: median(ratios) });
    } finally {
      prepared.dispose();
    }
  }
  return { plainTokensPerSecond: 1 / median(plainSeconds), arms };
}
