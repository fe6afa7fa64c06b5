import { z } from 'zod';
import { scoreRows } from '../jobs/score-rows.js';
import { ConfigError } from '../support/errors.js';
import { commandOptions, defineCommand } from './command.js';
import {
  adapterOption,
  chatDateOption,
  chatOption,
  modelOption,
  openModelOption,
  precisionOption,
  samplerOptions,
} from './model-option.js';
import { openProxyOption, orderOption, proxyOptions } from './proxy-option.js';

// --top-k is the number of tokens reported; the cut of the distribution has another name.
const { topK: _cut, ...cuts } = samplerOptions;

export const score = defineCommand({
  description:
    'Gives the log-probability of every token of a file of rows, in nats; with a proxy also Δ, how much a student that learns the ' +
    'token would lose. The same command continues a stopped run.',
  options: commandOptions({
    model: modelOption,
    precision: precisionOption,
    adapter: adapterOption,
    input: z.string().meta({ description: 'Rows or traces to score (.jsonl)', placeholder: 'file' }),
    output: z.string().meta({ description: 'Scores (.jsonl)', placeholder: 'file' }),
    topK: z.int().min(0).default(0).meta({ description: 'Likeliest tokens reported at each position' }),
    ...proxyOptions,
    distribution: z.boolean().default(false).meta({
      description:
        'Add the distribution that the token after each row is drawn from, under lambda and the sampler below',
    }),
    ...cuts,
    distributionTopK: samplerOptions.topK,
    order: orderOption,
    chat: chatOption,
    chatDate: chatDateOption,
  }),
  examples: [
    'azeotrope score --model M --input rows.jsonl --output scores.jsonl --top-k 5',
    'azeotrope score --model M --proxy DIR --input rows.jsonl --output scores.jsonl --distribution --temperature 0.6 --lambda 0.01',
  ],
  howToContinue: ({ output }) => `${output} keeps the rows that are scored; the same command does the rest.`,
  run: async (context, config) => {
    checkOptions(config);
    const { estimator, epsilon, lambda, order, temperature, distributionTopK, topP, minP, repetitionPenalty } = config;
    const opened = await openModelOption(context, config);
    let proxy: Awaited<ReturnType<typeof openProxyOption>>;
    try {
      proxy = await openProxyOption(context, config, opened);
      const sampler = { temperature, topK: distributionTopK, topP, minP, repetitionPenalty };
      const distribution = config.distribution ? { ...sampler, lambda, order } : undefined;
      const hasDeltas = proxy !== undefined || config.distribution;
      let progress: ReturnType<typeof context.createProgress> | undefined;
      const summary = await scoreRows(opened, {
        input: config.input,
        output: config.output,
        topK: config.topK,
        deltas: hasDeltas ? { proxy, estimator, epsilon, distribution } : undefined,
        chat: config.chat,
        chatDate: config.chatDate,
        signal: context.signal,
        log: context.log,
        onStart: ({ numRows, numDone }) => {
          progress = context.createProgress({ label: 'scoring', total: numRows, unit: 'rows', initial: numDone });
        },
        onRows: (count) => progress?.advance(count),
      });
      progress?.stop();
      if (summary.lossNats !== null) {
        const { numResponseTokens, lossNats } = summary;
        context.log(
          `${numResponseTokens} response tokens, ${lossNats.toFixed(4)} nats each (${summary.precision}), written to ${config.output}.`,
        );
      }
      return summary;
    } finally {
      proxy?.dispose();
      opened.dispose();
    }
  },
});

/** Options that would silently do nothing. */
function checkOptions(config: {
  proxy?: string | undefined;
  proxyModel?: string | undefined;
  proxyTokenizer: string;
  estimator: string;
  epsilon?: number | undefined;
  lambda: number;
  distribution: boolean;
  [option: string]: unknown;
}): void {
  const { proxy, proxyModel, proxyTokenizer, estimator, epsilon, lambda, distribution } = config;
  const isAboutProxy = proxyModel !== undefined || proxyTokenizer !== 'equal' || epsilon !== undefined || lambda !== 0;
  if (proxy === undefined && isAboutProxy) {
    throw new ConfigError(
      '--proxy-model, --proxy-tokenizer, --epsilon and --lambda are about a proxy. Name its folder with --proxy.',
    );
  }
  if (epsilon !== undefined && estimator === 'jvp') {
    throw new ConfigError('--estimator jvp is the exact derivative: it has no step. Leave --epsilon out.');
  }
  const shaping = {
    lambda: 0,
    temperature: 1,
    distributionTopK: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    order: 'paper',
  };
  const idle = Object.entries(shaping).find(([key, none]) => config[key] !== none);
  if (idle !== undefined && !distribution) {
    const flag = idle[0].replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw new ConfigError(`--${flag} shapes the distribution alone. Add --distribution.`);
  }
}
