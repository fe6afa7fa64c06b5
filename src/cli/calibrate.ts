import { z } from 'zod';
import { calibrateAccuracy } from '../jobs/calibrate-accuracy.js';
import { calibrateStrength } from '../jobs/calibrate-strength.js';
import { openProxy } from '../jobs/open-proxy.js';
import { ConfigError } from '../support/errors.js';
import { loadDataset } from '../tasks/datasets/items.js';
import { PROMPT_TEMPLATES } from '../tasks/datasets/prompts.js';
import { commandOptions, defineCommand } from './command.js';
import { datasetOptions, fieldsOf, templateOption, timeLimitOption } from './dataset-option.js';
import {
  chatDateOption,
  chatOption,
  modelOption,
  openModelOption,
  openOptions,
  precisionOption,
  samplerOptions,
} from './model-option.js';
import { orderOption, proxyOptions } from './proxy-option.js';

const { proxyModel, proxyTokenizer, estimator, epsilon } = proxyOptions;

export const calibrate = defineCommand({
  description:
    'Finds the strength of antidistillation sampling that a budget allows: the λ at which responses lie budget-nats a token from ' +
    'what the model would have sampled, or at which the model answers max-accuracy-loss points fewer questions rightly. Half of the ' +
    'prompts or questions decide it, the other half check it; proxy.json notes it.',
  options: commandOptions({
    model: modelOption,
    precision: precisionOption,
    proxy: z.string().meta({ description: 'Proxy: a folder that azeotrope proxy wrote', placeholder: 'folder' }),
    budgetNats: z.number().positive().optional().meta({
      description: 'Mean KL divergence from the untilted distribution',
      unit: 'nats a token',
      whenAbsent: 'max-accuracy-loss decides',
    }),
    input: z
      .string()
      .optional()
      .meta({ description: 'Prompts for budget-nats (.jsonl rows)', placeholder: 'file', whenAbsent: 'none' }),
    maxAccuracyLoss: z
      .number()
      .positive()
      .max(100)
      .optional()
      .meta({ description: 'Accuracy that may be lost', unit: 'percentage points', whenAbsent: 'budget-nats decides' }),
    data: z.string().optional().meta({
      description: 'Questions and answers for max-accuracy-loss (.jsonl, .parquet)',
      placeholder: 'file',
      whenAbsent: 'none',
    }),
    ...datasetOptions,
    limit: z.int().min(1).optional().meta({ description: 'Questions used, from the first', whenAbsent: 'all' }),
    template: templateOption,
    forceAnswers: z.boolean().default(false).meta({
      description: 'Let the model end each response that has no box with one, in a second pass',
    }),
    samples: z.int().min(1).default(1).meta({ description: 'Responses to each question' }),
    timeLimitMs: timeLimitOption,
    proxyModel,
    proxyTokenizer,
    estimator,
    epsilon,
    order: orderOption,
    maxTokens: z.int().min(1).default(128).meta({ description: 'Longest response', unit: 'tokens' }),
    ...samplerOptions,
    chat: chatOption,
    chatDate: chatDateOption,
    batch: z.int().min(1).max(1024).default(32).meta({ description: 'Most sequences computed at a time' }),
  }),
  examples: [
    'azeotrope calibrate --model M --proxy DIR --input prompts.jsonl --budget-nats 0.1 --temperature 0.6',
    'azeotrope calibrate --model M --proxy DIR --task gsm8k --data train.jsonl --max-accuracy-loss 3 --temperature 0.6 --max-tokens 512',
  ],
  howToContinue: () => 'Nothing was kept; run it again to calibrate.',
  run: async (context, config) => {
    const { budgetNats, input, maxAccuracyLoss, data } = config;
    if ((budgetNats === undefined) === (maxAccuracyLoss === undefined)) {
      throw new ConfigError('Give either --budget-nats with --input, or --max-accuracy-loss with --data.');
    }
    if (budgetNats !== undefined && input === undefined) throw new ConfigError('--budget-nats needs --input.');
    if (maxAccuracyLoss !== undefined && data === undefined) throw new ConfigError('--max-accuracy-loss needs --data.');
    if (config.temperature === 0) {
      throw new ConfigError('At --temperature 0 nothing is drawn and nothing tilted. Raise the temperature.');
    }
    const items = data === undefined ? [] : await loadDataset({ ...fieldsOf(config), path: data });
    const opened = await openModelOption(context, config);
    try {
      const { threads, proxyModel: checkpoint } = config;
      const proxy = await openProxy(config.proxy, opened, {
        ...openOptions(context, { threads }),
        proxyModel: checkpoint,
        proxyTokenizer: config.proxyTokenizer,
        log: context.log,
      });
      try {
        const { temperature, topK, topP, minP, repetitionPenalty } = config;
        const shared = {
          folder: config.proxy,
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
        };
        if (maxAccuracyLoss !== undefined) {
          const calibration = await calibrateAccuracy(opened, proxy, {
            ...shared,
            items: items.slice(0, config.limit),
            data: data!,
            template: PROMPT_TEMPLATES[config.template],
            forceAnswers: config.forceAnswers,
            maxAccuracyLoss,
            samples: config.samples,
            timeLimitMs: config.timeLimitMs,
            onMeasurement: ({ lambda, lossPoints, nats }) =>
              context.log(
                `λ = ${lambda.toPrecision(4)}: ${lossPoints.toFixed(1)} points, ${nats.toPrecision(3)} nats a token`,
              ),
          });
          const { lambda, isReached, searched, heldOut } = calibration;
          const told = ({ lossPoints, errorPoints, numQuestions }: typeof searched) =>
            `${lossPoints.toFixed(1)} ± ${errorPoints.toFixed(1)} points on the ${numQuestions} questions`;
          context.write(
            `λ = ${lambda.toPrecision(6)}: ${told(searched)} of the search, ${told(heldOut)} kept back (± one standard error).\n${
              isReached ? '' : bound(`${maxAccuracyLoss} points are lost`)
            }`,
          );
          return calibration;
        }
        const calibration = await calibrateStrength(opened, proxy, {
          ...shared,
          input: input!,
          budgetNats: budgetNats!,
          log: context.log,
          onMeasurement: ({ lambda, nats }) =>
            context.log(`λ = ${lambda.toPrecision(4)}: ${nats.toPrecision(4)} nats a token`),
        });
        const { lambda, measuredNats, heldOutNats, isReached } = calibration;
        context.write(
          `λ = ${lambda.toPrecision(6)}: ${measuredNats.toPrecision(3)} nats a token on the prompts of the search, ` +
            `${heldOutNats.toPrecision(3)} on those kept back.\n${isReached ? '' : bound(`${budgetNats} nats are reached`)}`,
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

const bound = (what: string): string =>
  `At no strength ${what}: the support (temperature, top-k, top-p, min-p) allows no more than this. Widen it, or ask for less.\n`;
