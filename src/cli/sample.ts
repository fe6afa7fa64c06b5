import { z } from 'zod';
import { chatTime } from '../jobs/read-rows.js';
import { samplePrompt, sampleRows } from '../jobs/sample-rows.js';
import { createDefence, type Defence } from '../methods/antidistillation/defence.js';
import { ConfigError } from '../support/errors.js';
import { encodeRow } from '../tokenizer/rows.js';
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

export const sample = defineCommand({
  description:
    'Samples responses. From a file, one trace is written for each prompt as it finishes, and the same command continues ' +
    'a stopped run; a single prompt is answered on the terminal as it is generated.',
  options: commandOptions({
    model: modelOption,
    precision: precisionOption,
    adapter: adapterOption,
    input: z.string().optional().meta({ description: 'Prompts (.jsonl rows)', placeholder: 'file' }),
    output: z.string().optional().meta({ description: 'Traces (.jsonl)', placeholder: 'file' }),
    prompt: z.string().optional().meta({ description: 'One prompt, instead of input and output', placeholder: 'text' }),
    samples: z.int().min(1).default(1).meta({ description: 'Responses to each prompt' }),
    maxTokens: z
      .int()
      .min(1)
      .default(256)
      .meta({ description: 'Longest response; the context may leave less', unit: 'tokens' }),
    ...samplerOptions,
    sampler: z.enum(['temperature', 'antidistillation', 'permutation']).default('temperature').meta({
      description:
        'temperature: the model itself (with --proxy the Δ of its tokens is noted); antidistillation: tilted by lambda · Δ of a proxy; permutation: by Δ permuted, the control',
    }),
    ...proxyOptions,
    order: orderOption,
    stop: z.array(z.string()).default([]).meta({ description: 'Text that ends a response', placeholder: 'text' }),
    chat: chatOption,
    chatDate: chatDateOption,
    batch: z.int().min(1).max(1024).default(32).meta({ description: 'Most sequences computed at a time' }),
  }),
  examples: [
    'azeotrope sample --model M --input prompts.jsonl --output traces.jsonl --temperature 0.7 --max-tokens 256',
    'azeotrope sample --model M --prompt "Why is the sky blue?" --temperature 0',
    'azeotrope sample --model M --input prompts.jsonl --output traces.jsonl --sampler antidistillation --proxy DIR --lambda 0.01',
  ],
  howToContinue: ({ output }) =>
    output === undefined ? 'Nothing was kept.' : `${output} keeps the finished traces; the same command does the rest.`,
  run: async (context, config) => {
    const { input, output, prompt, samples, seed, maxTokens, stop } = config;
    if (prompt === undefined ? input === undefined || output === undefined : (input ?? output) !== undefined) {
      throw new ConfigError('Give either --input and --output, or --prompt alone.');
    }
    checkSampler(config);
    if (config.sampler !== 'temperature' && config.lambda === 0) {
      context.log(
        'λ is 0: nothing is tilted, these are plain traces. azeotrope calibrate finds a --lambda for a budget.',
      );
    }
    const { temperature, topK, topP, minP, repetitionPenalty } = config;
    const sampler = { temperature, topK, topP, minP, repetitionPenalty };
    const opened = await openModelOption(context, config);
    let proxy: Awaited<ReturnType<typeof openProxyOption>>;
    let antidistillation: Defence | undefined;
    try {
      proxy = await openProxyOption(context, config, opened);
      const { estimator, epsilon, order } = config;
      const permuted = config.sampler === 'permutation';
      antidistillation =
        proxy && createDefence(proxy.model, proxy.proxy, { estimator, epsilon, order, permuted, ...proxy.forDefence });
      const defence = antidistillation && {
        processors: [antidistillation.tilt(config.lambda)],
        companions: antidistillation.companions,
      };
      if (prompt !== undefined) {
        const { vocabSize } = opened.model.config;
        const row = { id: 'prompt', prompt };
        const { tokens } = encodeRow(row, {
          tokenizer: opened.tokenizer,
          vocabSize,
          chat: config.chat,
          where: '--prompt',
          now: chatTime(config.chatDate),
        });
        const settings = { sampler, defence, seed, maxTokens, stop, signal: context.signal, onText: context.write };
        const trace = await samplePrompt(opened, tokens, settings);
        context.write('\n');
        context.signal.throwIfAborted();
        return trace;
      }
      let progress: ReturnType<typeof context.createProgress> | undefined;
      let numTokens = 0;
      let startMs = 0;
      const stats = await sampleRows(opened, {
        input: input!,
        output: output!,
        sampler,
        defence,
        samples,
        seed,
        maxTokens,
        stop,
        chat: config.chat,
        chatDate: config.chatDate,
        maxBatch: config.batch,
        signal: context.signal,
        log: context.log,
        onStart: ({ numTraces, numDone }) => {
          startMs = performance.now();
          progress = context.createProgress({ label: 'sampling', total: numTraces, unit: 'traces', initial: numDone });
        },
        onToken: () => {
          numTokens += 1;
          progress?.advance(0, `${numTokens} tokens, ${perSecond(numTokens, startMs)}`);
        },
        onTrace: () => progress?.advance(1),
      });
      progress?.stop();
      context.signal.throwIfAborted();
      const { precision } = opened.model.compiler;
      const seconds = stats.durationMs / 1000;
      context.log(
        `${stats.numTraces} traces, ${stats.numTokens} tokens in ${seconds.toFixed(1)} s ` +
          `(${Math.round(stats.numTokens / Math.max(seconds, 1e-9))} tokens/s, ${precision}), written to ${output}.`,
      );
      return { output, precision, ...stats };
    } finally {
      antidistillation?.dispose();
      proxy?.dispose();
      opened.dispose();
    }
  },
});

/** Options that contradict one another, or would silently do nothing. */
function checkSampler(config: {
  sampler: 'temperature' | 'antidistillation' | 'permutation';
  proxy?: string | undefined;
  temperature: number;
  lambda: number;
}): void {
  const { sampler, proxy, temperature, lambda } = config;
  if (sampler === 'temperature') {
    if (lambda !== 0) {
      throw new ConfigError(
        `--lambda ${lambda} is the strength of a tilt, and --sampler temperature tilts nothing. Add --sampler antidistillation, or leave --lambda out.`,
      );
    }
    if (proxy === undefined || temperature > 0) return;
    throw new ConfigError(
      '--proxy tells the Δ of tokens that are drawn; at --temperature 0 nothing is drawn. Raise the temperature, or leave --proxy out.',
    );
  }
  if (proxy === undefined) {
    throw new ConfigError(`--sampler ${sampler} needs --proxy, a folder that azeotrope proxy wrote.`);
  }
  if (temperature === 0) {
    throw new ConfigError(
      `--sampler ${sampler} draws at random; at --temperature 0 nothing is drawn. Raise the temperature.`,
    );
  }
}

const perSecond = (count: number, sinceMs: number): string =>
  `${Math.round((count / Math.max(performance.now() - sinceMs, 1)) * 1000)} tokens/s`;
