/** Log-probabilities of given tokens, with and without the likeliest alternatives. */
import { createScorer } from '../../src/inference/score.js';
import { openModel } from '../../src/jobs/open-model.js';
import { median } from '../../src/support/statistics.js';
import { randomTokens, withCompiler } from './session.js';
import { timeRepeatedly } from './timing.js';

const TOP_K = 5;

interface ScoringOptions {
  readonly model: string;
  readonly threads: number;
  readonly rows: number;
  readonly time: number;
  readonly seconds: number;
}

export function measure({ model: path, threads, rows, time, seconds }: ScoringOptions): Promise<object> {
  return withCompiler(threads, async (compiler) => {
    const { model } = await openModel(path, { compiler });
    const scorer = createScorer(model);
    const examples = Array.from({ length: rows }, (_, row) => ({
      id: String(row),
      tokens: randomTokens(time, model.config.vocabSize, row),
    }));
    const rate = async (topK: number) => {
      const durations = await timeRepeatedly(() => scorer.score(examples, { topK }), { seconds, least: 2, warmUp: 1 });
      return ((rows * time) / median(durations)) * 1000;
    };
    const sample = { threads, rows, time, tokensPerSecond: await rate(0), topTokensPerSecond: await rate(TOP_K) };
    model.dispose();
    return sample;
  });
}
