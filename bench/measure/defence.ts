/** What antidistillation sampling costs: plain, central and exact sampling of the same prompts, in turns. */
import type { Compiler } from '../../src/engine/compiler.js';
import type { Precision } from '../../src/engine/onnx/emitter.js';
import { createGenerator, type Generator } from '../../src/inference/generator.js';
import type { SamplerSettings } from '../../src/inference/samplers/settings.js';
import { createDefence } from '../../src/methods/antidistillation/defence.js';
import type { EstimatorKind } from '../../src/methods/antidistillation/estimators.js';
import type { ProxyArtefact } from '../../src/methods/antidistillation/proxy.js';
import { openCheckpoint } from '../../src/model/checkpoint.js';
import { type LanguageModel, loadModel } from '../../src/model/language-model.js';
import { invariant } from '../../src/support/errors.js';
import { median } from '../../src/support/statistics.js';
import { encodeChat } from '../../src/tokenizer/chat.js';
import { openTokenizer } from '../../src/tokenizer/open.js';
import type { TrainingExample } from '../../src/training/batches.js';
import { lossGradient } from '../../src/training/loss-gradient.js';
import { randomModel, randomTokens, withCompiler } from './session.js';
import { type DefencePair, defencePairs, flopPerToken } from './shapes.js';

interface DefenceOptions {
  /** Shapes with random weights, or a model file: then the proxy is its first layers. */
  readonly pair: DefencePair;
  readonly model?: string;
  /** What is left out, in plain sampling too. Default: nothing. */
  readonly cut?: Partial<SamplerSettings>;
  /** Default: both. */
  readonly estimators?: readonly EstimatorKind[];
  readonly threads: number;
  readonly batch: number;
  readonly prompt: number;
  readonly newTokens: number;
  readonly seconds: number;
  readonly precision: Precision;
}

const ESTIMATORS = ['central', 'jvp'] as const satisfies readonly EstimatorKind[];

export function measure(options: DefenceOptions): Promise<object> {
  const work = async (compiler: Compiler): Promise<object> => {
    const { batch, prompt, newTokens, cut = {}, estimators = ESTIMATORS } = options;
    const { teacher, proxyModel, prompts, gradient } = await openPair(compiler, options);
    const proxy = proxyOf(gradient);
    const defences = estimators.map((estimator) => createDefence(proxyModel, proxy, { estimator }));
    const generators: readonly Generator[] = [
      createGenerator(teacher, { maxBatch: batch }),
      ...defences.map(({ tilt, companions }) =>
        createGenerator(teacher, { maxBatch: batch, processors: [tilt(1e-3)], companions }),
      ),
    ];
    const run = async (generator: Generator): Promise<number> => {
      const requests = Array.from({ length: batch }, (_, row) => ({
        id: String(row),
        promptTokens: prompts[row],
        maxTokens: newTokens,
        sampler: cut,
      }));
      const { decodeMs } = await generator.generate(requests);
      return decodeMs;
    };
    for (const generator of generators) await run(generator); // compiles
    const rounds: number[][] = [];
    const begin = performance.now();
    while (rounds.length < 3 || performance.now() - begin < options.seconds * 1000) {
      const times: number[] = [];
      for (const generator of generators) times.push(await run(generator));
      rounds.push(times);
    }
    for (const generator of generators) generator.dispose();
    for (const defence of defences) defence.dispose();
    const relative = (estimator: EstimatorKind) => {
      const index = estimators.indexOf(estimator) + 1;
      return index === 0 ? undefined : median(rounds.map((times) => times[index] / times[0]));
    };
    const perSecond = (index: number) => (batch * newTokens * 1000) / median(rounds.map((times) => times[index]));
    const context = prompt + newTokens / 2;
    return {
      ...options,
      proxyShareOfCompute: flopPerToken(proxyModel.config, context) / flopPerToken(teacher.config, context),
      plainTokensPerSecond: perSecond(0),
      ...(estimators.includes('central') && { centralTokensPerSecond: perSecond(estimators.indexOf('central') + 1) }),
      centralRelative: relative('central'),
      jvpRelative: relative('jvp'),
      numRounds: rounds.length,
    };
  };
  return withCompiler(options.threads, work, options.precision);
}

interface Pair {
  readonly teacher: LanguageModel;
  readonly proxyModel: LanguageModel;
  /** Of `prompt` tokens each. */
  readonly prompts: readonly (readonly number[])[];
  /** Along which the proxy moves. */
  readonly gradient: ReadonlyMap<string, Float32Array>;
}

async function openPair(compiler: Compiler, { pair, model, batch, prompt }: DefenceOptions): Promise<Pair> {
  const shapes = defencePairs[pair];
  if (model === undefined) {
    const { vocabSize } = shapes.teacher;
    const prompts = Array.from({ length: batch }, (_, row) => randomTokens(prompt, vocabSize, `${row}`));
    const proxyModel = randomModel(compiler, shapes.proxy);
    const holdout = Array.from({ length: HOLDOUT_ROWS }, (_, row) => ({
      ...{ id: String(row), tokens: randomTokens(2 * HOLDOUT_TOKENS, vocabSize, `holdout ${row}`) },
      responseStart: HOLDOUT_TOKENS,
    }));
    const gradient = await gradientOn(proxyModel, holdout);
    return { teacher: randomModel(compiler, shapes.teacher), proxyModel, prompts, gradient };
  }
  const checkpoint = await openCheckpoint(model);
  try {
    const { config, tokenizerSource } = checkpoint;
    invariant(tokenizerSource !== undefined, `${model} has no tokenizer`);
    // Dequantised, as fine-tuned models are; what is asked never ends, so that every row gives all of its tokens.
    const load = (numLayers: number) =>
      loadModel(compiler, {
        config: { ...config, numLayers, eosTokenIds: [] },
        read: checkpoint.read,
        blocks: () => undefined,
      });
    const tokenizer = openTokenizer(tokenizerSource);
    const chat = (first: number, step: number) => {
      const questions = Array.from({ length: Math.ceil(prompt / QUESTION_TOKENS) }, (_, at) =>
        question(first + at * step),
      );
      const tokens = encodeChat(tokenizer, [{ role: 'user', content: questions.join('\n\n') }]);
      invariant(tokens.length >= prompt, `question ${first} has ${tokens.length} tokens, not ${prompt}`);
      return tokens.slice(-prompt);
    };
    const [teacher, proxyModel] = [load(config.numLayers), load(shapes.proxy.numLayers)];
    // Other questions than the prompts have.
    const firstAsked = batch * Math.ceil(prompt / QUESTION_TOKENS);
    const asked = Array.from({ length: HOLDOUT_ROWS }, (_, row) => chat(firstAsked + row, HOLDOUT_ROWS));
    return {
      ...{ teacher, proxyModel },
      prompts: Array.from({ length: batch }, (_, row) => chat(row, batch)),
      gradient: await gradientOn(proxyModel, await answers(teacher, asked)),
    };
  } finally {
    checkpoint.dispose();
  }
}

/** A question has at least as many. */
const QUESTION_TOKENS = 64;

/** What a chat model is asked: each row something else. */
function question(row: number): string {
  const [people, things] = [
    ['Maria', 'a baker', 'Tom', 'the school', 'Aisha', 'a farmer', 'my uncle', 'the library'],
    ['apples', 'books', 'tickets', 'boxes of pens', 'eggs', 'kilometres', 'stamps', 'bottles of milk'],
  ].map((words, index) => words[(row * (index + 3)) % words.length]);
  const [first, second] = [12 + 7 * row, 3 + (row % 5)];
  return (
    `On Monday ${people} counted ${first} ${things}. On Tuesday there were ${second} times as many, on Wednesday half of what ` +
    `there had been on Monday and Tuesday together, and on Thursday nothing was left but ${second + 2}. How many ${things} were ` +
    'there on Wednesday, and how many had gone by Thursday? Explain each step, then give the answer.'
  );
}

/** Traces of the teacher that the gradient is taken on. */
const HOLDOUT_ROWS = 32;
const HOLDOUT_TOKENS = 64;

async function answers(teacher: LanguageModel, asked: readonly (readonly number[])[]): Promise<TrainingExample[]> {
  const generator = createGenerator(teacher, { maxBatch: asked.length });
  const found: TrainingExample[] = [];
  const requests = asked.map((promptTokens, row) => ({
    ...{ id: String(row), promptTokens, maxTokens: HOLDOUT_TOKENS, sampler: { temperature: 1 }, seed: 0 },
  }));
  await generator.generate(requests, {
    onTrace: ({ id, promptTokens, tokens }) =>
      void found.push({ id, tokens: [...promptTokens, ...tokens], responseStart: promptTokens.length }),
  });
  generator.dispose();
  return found;
}

/** What of a direction is computed depends on how large it is where: so the gradient is a real one. */
async function gradientOn(model: LanguageModel, holdout: readonly TrainingExample[]): Promise<Pair['gradient']> {
  const { gradient } = await lossGradient(model, holdout, { microBatchTokens: 1024 });
  const values = new Map([...gradient].map(([name, { data }]) => [name, data.slice()]));
  for (const tensor of gradient.values()) tensor.dispose();
  return values;
}

function proxyOf(gradient: Pair['gradient']): ProxyArtefact {
  return {
    gradient,
    gradientNorm: 1,
    epsilon: 1e-3,
    epsilonStudy: [],
    lossNats: 1,
    responseTokens: 1,
    precision: 'float32',
    tokenizerFingerprint: null,
    calibration: null,
    provenance: {
      model: 'random',
      revision: null,
      configHash: '',
      modelHash: '',
      holdout: { file: '', sha256: '', numRows: 0, chat: 'auto' },
      tokenizerFingerprint: null,
      packageVersion: '',
    },
  };
}
