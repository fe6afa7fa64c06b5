import { z } from 'zod';
import { calibrateStrength } from '../jobs/calibrate-strength.js';
import { openModel } from '../jobs/open-model.js';
import { openProxy } from '../jobs/open-proxy.js';
import { commandOptions, defineCommand } from './command.js';
import { chatDateOption, chatOption, modelOption, openOptions, samplerOptions } from './model-option.js';
import { orderOption, proxyOptions } from './proxy-option.js';

const { proxyModel, estimator, epsilon } = proxyOptions;

export const calibrate = defineCommand({
  description:
    'Finds the strength of antidistillation sampling that a budget allows: the λ at which responses lie budget-nats a token from ' +
    'what the model would have sampled. Half of the prompts decide it, the other half check it; proxy.json notes it.',
  options: commandOptions({
    model: modelOption,
    proxy: z.string().meta({ description: 'Proxy: a folder that azeotrope proxy wrote', placeholder: 'folder' }),
    input: z.string().meta({ description: 'Prompts to calibrate on (.jsonl rows)', placeholder: 'file' }),
    budgetNats: z
      .number()
      .positive()
      .meta({ description: 'Mean KL divergence from the untilted distribution', unit: 'nats a token' }),
    proxyModel,
    estimator,
    epsilon,
    order: orderOption,
    maxTokens: z.int().min(1).default(128).meta({ description: 'Longest response', unit: 'tokens' }),
    ...samplerOptions,
    chat: chatOption,
    chatDate: chatDateOption,
    batch: z.int().min(1).max(1024).default(32).meta({ description: 'Most sequences computed at a time' }),
  }),
  examples: ['azeotrope calibrate --model M --proxy DIR --input prompts.jsonl --budget-nats 0.1 --temperature 0.6'],
  howToContinue: () => 'Nothing was kept; run it again to calibrate.',
  run: async (context, config) => {
    const opened = await openModel(config.model, openOptions(context, config));
    try {
      const { threads, proxyModel: checkpoint } = config;
      const proxy = await openProxy(config.proxy, opened, {
        ...openOptions(context, { threads }),
        proxyModel: checkpoint,
      });
      try {
        const { temperature, topK, topP, minP, repetitionPenalty } = config;
        const calibration = await calibrateStrength(opened, proxy, {
          input: config.input,
          folder: config.proxy,
          budgetNats: config.budgetNats,
          estimator: config.estimator,
          epsilon: config.epsilon,
          order: config.order,
          sampler: { temperature, topK, topP, minP, repetitionPenalty },
          maxTokens: config.maxTokens,
          seed: config.seed,
          chat: config.chat,
          chatDate: config.chatDate,
          maxBatch: config.batch,
          signal: context.signal,
          log: context.log,
          onMeasurement: ({ lambda, nats }) =>
            context.log(`λ = ${lambda.toPrecision(4)}: ${nats.toPrecision(4)} nats a token`),
        });
        const { lambda, measuredNats, heldOutNats } = calibration;
        context.write(
          `λ = ${lambda.toPrecision(6)}: ${measuredNats.toPrecision(3)} nats a token on the prompts of the search, ` +
            `${heldOutNats.toPrecision(3)} on those kept back.\n`,
        );
        return calibration;
      } finally {
        proxy.dispose();
      }
    } finally {
      opened.dispose();
    }
  },
});
