/**
 * Something to see within a minute: a small transformer learns to sort digits. It is made from nothing, trained on problems, and
 * asked problems it has not seen, before and after.
 */
import type { PrecisionChoice } from '../engine/compiler.js';
import type { Precision } from '../engine/onnx/emitter.js';
import { createGenerator } from '../inference/generator.js';
import type { TransformerConfig } from '../model/config.js';
import { createModel, type LanguageModel } from '../model/language-model.js';
import { countParameters } from '../model/parameters.js';
import { sha256 } from '../support/hash.js';
import { createRandom, deriveSeed, type Random } from '../support/random.js';
import { openTokenizer } from '../tokenizer/open.js';
import type { Tokenizer } from '../tokenizer/types.js';
import { trainingSchema } from '../training/config.js';
import { type StepReport, trainModel } from '../training/train.js';
import { compilerFor } from './open-model.js';

export interface DemoOptions {
  readonly threads?: number | undefined;
  /** Default: float32. */
  readonly precision?: PrecisionChoice | undefined;
  readonly seed?: number;
  /** Optimiser steps; default 600. */
  readonly steps?: number;
  readonly signal?: AbortSignal;
  readonly onStart?: (facts: { numParameters: number; numProblems: number; before: Examination }) => void;
  readonly onStep?: (report: StepReport) => void;
}

export interface Examination {
  readonly numCorrect: number;
  readonly numProblems: number;
  /** A few of the problems with what the model answered. */
  readonly shown: readonly { readonly problem: string; readonly answer: string; readonly isCorrect: boolean }[];
}

export interface DemoResult {
  readonly numParameters: number;
  readonly numSteps: number;
  readonly precision: Precision;
  readonly trainingLossNats: number | undefined;
  readonly before: Examination;
  readonly after: Examination;
}

const DIGITS = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];
const NUM_DIGITS = 8;
const NUM_TRAINING = 20_000;
const NUM_HELD_OUT = 200;
const NUM_SHOWN = 4;
const BATCH_SIZE = 64;

const modelConfig = (vocabSize: number, eosTokenId: number): TransformerConfig => ({
  family: 'llama',
  vocabSize,
  hiddenSize: 96,
  intermediateSize: 256,
  numLayers: 2,
  numHeads: 3,
  numKvHeads: 3,
  headSize: 32,
  rmsNormEps: 1e-5,
  ropeTheta: 10_000,
  ropeScaling: { kind: 'none' },
  maxPositions: 64,
  qkvBias: false,
  outputBias: false,
  mlpBias: false,
  qkNorm: false,
  tiedHead: true,
  bosTokenId: undefined,
  eosTokenIds: [eosTokenId],
  padTokenId: undefined,
  initializerRange: 0.05,
});

/** `sort 7 2 … =`; one problem in 16, by hash, is never trained on. */
function problems(random: Random, count: number, heldOut: boolean): { prompt: string; answer: string }[] {
  const found = new Map<string, string>();
  while (found.size < count) {
    const digits = Array.from({ length: NUM_DIGITS }, () => DIGITS[random.integer(10)]);
    const prompt = `sort ${digits.join(' ')} =`;
    if ((Number.parseInt(sha256(prompt).slice(0, 2), 16) % 16 === 0) !== heldOut) continue;
    found.set(prompt, [...digits].sort().join(' '));
  }
  return [...found].map(([prompt, answer]) => ({ prompt, answer }));
}

export async function runDemo(options: DemoOptions = {}): Promise<DemoResult> {
  const { seed = 0, steps = 600 } = options;
  const tokenizer = openTokenizer({ kind: 'words', words: ['<eos>', 'sort', '=', ...DIGITS], eosToken: '<eos>' });
  const config = modelConfig(tokenizer.vocabSize, tokenizer.idOf('<eos>')!);
  const { compiler, release } = compilerFor(options);
  const model = createModel(compiler, config, createRandom(deriveSeed(seed, 'weights')));
  try {
    const heldOut = problems(createRandom(deriveSeed(seed, 'held out')), NUM_HELD_OUT, true);
    const training = problems(createRandom(deriveSeed(seed, 'training')), NUM_TRAINING, false);
    const rows = training.map(({ prompt, answer }, index) => {
      const promptTokens = tokenizer.encode(prompt);
      const tokens = [...promptTokens, ...tokenizer.encode(answer), ...tokenizer.eosTokenIds];
      return { id: String(index), tokens, responseStart: promptTokens.length };
    });
    const before = await examine(model, tokenizer, heldOut);
    const numParameters = countParameters(config);
    options.onStart?.({ numParameters, numProblems: rows.length, before });
    const settings = trainingSchema.parse({
      epochs: (steps * BATCH_SIZE) / NUM_TRAINING,
      maxSteps: steps,
      batchSize: BATCH_SIZE,
      learningRate: 3e-3,
      seed,
    });
    const { onStep, signal } = options;
    const { numSteps, lossNats } = await trainModel(model, rows, settings, { ...(onStep && { onStep }), signal });
    signal?.throwIfAborted();
    const after = await examine(model, tokenizer, heldOut);
    return { numParameters, numSteps, precision: compiler.precision, trainingLossNats: lossNats, before, after };
  } finally {
    model.dispose();
    release();
  }
}

/** Greedy answers to problems, counted where they are right to the last digit. */
async function examine(
  model: LanguageModel,
  tokenizer: Tokenizer,
  asked: readonly { prompt: string; answer: string }[],
): Promise<Examination> {
  const answers = new Map<string, string>();
  const generator = createGenerator(model, { tokenizer });
  try {
    const requests = asked.map(({ prompt }, index) => ({
      id: String(index),
      promptTokens: tokenizer.encode(prompt),
      maxTokens: NUM_DIGITS + 1,
      sampler: { temperature: 0 },
    }));
    await generator.generate(requests, { onTrace: ({ id, text }) => void answers.set(id, text) });
  } finally {
    generator.dispose();
  }
  const marked = asked.map(({ prompt, answer }, index) => {
    const given = answers.get(String(index)) ?? '';
    return { problem: prompt, answer: given, isCorrect: given.trim() === answer };
  });
  return {
    numCorrect: marked.filter(({ isCorrect }) => isCorrect).length,
    numProblems: asked.length,
    shown: marked.slice(0, NUM_SHOWN),
  };
}
