/** Responses of the student as it stands, with the log-probabilities they were drawn with. */
import { logSoftmax } from '../../engine/graph/ops.js';
import { createGenerator } from '../../inference/generator.js';
import type { LogitsProcessor } from '../../inference/samplers/processor.js';
import type { LanguageModel } from '../../model/language-model.js';
import type { Tokenizer } from '../../tokenizer/types.js';

export interface Rollout {
  /** Prompt and response. */
  readonly tokens: readonly number[];
  readonly responseStart: number;
  /** ln π(token) of each response token at the temperature of the rollouts. */
  readonly logprobs: readonly number[];
  readonly isFinished: boolean;
}

export interface RolloutSampler {
  /** Groups of responses in the order of the prompts. The seed and the prompt's id decide them, whatever shares a batch. */
  sample(
    prompts: readonly { readonly id: string; readonly tokens: readonly number[] }[],
    options: { groupSize: number; seed: number },
  ): Promise<Rollout[][]>;
  dispose(): void;
}

const STATISTIC = 'policyLogprob';

/** Tells the log-probabilities behind the temperature, which a trace does not hold. */
const policyLogprob: LogitsProcessor = {
  name: STATISTIC,
  position: 'beforeTruncation',
  statistics: [STATISTIC],
  isNeeded: () => true,
  size: () => 0,
  columns: () => ({}),
  build: (g, logits) => ({ logits, statistics: { [STATISTIC]: logSoftmax(g, logits) } }),
  fill: () => undefined,
};

/** Samples from the model's own parameters, which training changes in place: there is no copy. */
export function createRolloutSampler(
  model: LanguageModel,
  options: { temperature: number; maxTokens: number; maxBatch: number; tokenizer?: Tokenizer | undefined },
): RolloutSampler {
  const { temperature, maxTokens, maxBatch, tokenizer } = options;
  const generator = createGenerator(model, { tokenizer, maxBatch, processors: [policyLogprob] });
  return {
    async sample(prompts, { groupSize, seed }) {
      const groups = prompts.map((): Rollout[] => []);
      const requests = prompts.map(({ id, tokens }, at) => ({
        id: `${at}/${id}`,
        promptTokens: tokens,
        samples: groupSize,
        maxTokens,
        sampler: { temperature },
        seed,
      }));
      await generator.generate(requests, {
        onTrace({ id, sample, promptTokens, tokens, statistics, finish }) {
          groups[Number(id.slice(0, id.indexOf('/')))][sample] = {
            tokens: [...promptTokens, ...tokens],
            responseStart: promptTokens.length,
            logprobs: statistics![STATISTIC],
            isFinished: finish === 'stop',
          };
        },
      });
      return groups;
    },
    dispose: () => generator.dispose(),
  };
}
