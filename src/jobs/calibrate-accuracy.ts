/** λ from what the teacher may lose: points of accuracy on questions with known answers. */

import type { Precision } from '../engine/onnx/emitter.js';
import { gradeResponse, isBoxed, isRead, isRight } from '../evaluation/grade-response.js';
import { createGenerator, type Generator } from '../inference/generator.js';
import type { GenerationRequest } from '../inference/request.js';
import { type SamplerSettings, samplerSchema } from '../inference/samplers/settings.js';
import type { Trace } from '../inference/trace.js';
import { type AccuracyStrength, solveAccuracyLoss } from '../methods/antidistillation/accuracy-strength.js';
import { createDefence, type DefenceOptions } from '../methods/antidistillation/defence.js';
import { addCalibration } from '../methods/antidistillation/proxy.js';
import { ConfigError, DataError } from '../support/errors.js';
import { createGrader } from '../tasks/answers/grader.js';
import type { TaskItem } from '../tasks/datasets/items.js';
import {
  ANSWER_FORCING_SUFFIX,
  ANSWER_FORCING_TOKENS,
  buildPrompt,
  type PromptTemplate,
} from '../tasks/datasets/prompts.js';
import { splitByHash } from '../tasks/datasets/splits.js';
import { encodeRow } from '../tokenizer/rows.js';
import type { OpenedModel } from './open-model.js';
import type { OpenedProxy } from './open-proxy.js';
import { chatTime } from './read-rows.js';

export interface CalibrateAccuracyOptions extends DefenceOptions {
  /** Questions, divided into halves by the hash of their text: one for the search, one for the check. */
  readonly items: readonly TaskItem[];
  /** Where they come from, for the record. */
  readonly data: string;
  readonly template: PromptTemplate;
  /** A second, greedy pass over responses without a box. */
  readonly forceAnswers: boolean;
  /** Folder of the proxy, where the result is noted too. */
  readonly folder: string;
  /** Points of accuracy that the teacher may lose, above 0. */
  readonly maxAccuracyLoss: number;
  readonly sampler?: Partial<SamplerSettings>;
  /** Responses to each question. */
  readonly samples: number;
  readonly maxTokens: number;
  readonly seed: number;
  readonly timeLimitMs: number;
  readonly chat?: 'auto' | 'never';
  readonly chatDate?: string | undefined;
  readonly maxBatch?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onMeasurement?: (measurement: { lambda: number; lossPoints: number; nats: number }) => void;
}

interface LossOnQuestions {
  /** Accuracy without a tilt less accuracy with it, in points. */
  readonly lossPoints: number;
  /** Standard error of that difference, in points, over questions. */
  readonly errorPoints: number;
  readonly numQuestions: number;
}

export interface AccuracyCalibration {
  readonly lambda: number;
  readonly maxAccuracyLoss: number;
  /** False where no strength loses as much: λ is then as strong as the support allows. */
  readonly isReached: boolean;
  /** On the questions of the search. */
  readonly searched: LossOnQuestions;
  /** On the questions kept back. */
  readonly heldOut: LossOnQuestions;
  readonly meanNats: number;
  readonly estimator: string;
  readonly order: string;
  /** That the model computed in. */
  readonly precision: Precision;
  readonly sampler: SamplerSettings;
  readonly samples: number;
  readonly maxTokens: number;
  readonly seed: number;
  readonly data: string;
}

const LEAST_QUESTIONS = 4;

/**
 * Solves for the λ at which the teacher loses `maxAccuracyLoss` points on half of the questions, measures the loss on the other half
 * and notes it in `proxy.json`. Every measurement has the same questions and seeds. Errors: DataError for too few questions, or where
 * no answer of the teacher can be read, or where it has fewer right answers than it may lose; ConfigError for a model without
 * tokenizer.
 */
export async function calibrateAccuracy(
  opened: OpenedModel,
  { proxy, model: proxyModel, forDefence: { readGradient, unsharedIds } }: OpenedProxy,
  options: CalibrateAccuracyOptions,
): Promise<AccuracyCalibration> {
  const {
    items,
    data,
    folder,
    maxAccuracyLoss,
    maxTokens,
    samples,
    seed,
    estimator = 'jvp',
    order = 'paper',
  } = options;
  const sampler = samplerSchema.parse(options.sampler ?? {});
  if (new Set(items.map(({ id }) => id)).size < items.length) {
    throw new DataError(`${data}: two questions share an id. Ids must differ: name another idField, or none.`);
  }
  const halves = splitByHash(items, { searched: 0.5, keptBack: 0.5 }, { salt: 'calibration' });
  if (halves.searched.length < LEAST_QUESTIONS || halves.keptBack.length < LEAST_QUESTIONS) {
    throw new DataError(
      `${data}: ${items.length} questions are too few to calibrate on: each half needs ${LEAST_QUESTIONS}, and a point of accuracy hundreds.`,
    );
  }
  const defence = createDefence(proxyModel, proxy, { ...options, readGradient, unsharedIds });
  const grader = createGrader({ timeLimitMs: options.timeLimitMs });
  try {
    const measure = async (half: readonly TaskItem[], lambda: number): Promise<Measured> => {
      const generator = createGenerator(opened.model, {
        tokenizer: opened.tokenizer,
        maxBatch: options.maxBatch,
        processors: [defence.tilt(lambda)],
        companions: defence.companions,
      });
      try {
        const traces = await answerQuestions(generator, half, { ...options, sampler, opened });
        const rightOf = new Map<string, number>(half.map(({ id }) => [id, 0]));
        const answerOf = new Map(half.map(({ id, answer }) => [id, answer]));
        let isAnyRead = false;
        for (const trace of traces) {
          const graded = await gradeResponse(grader, answerOf.get(trace.id)!, trace);
          isAnyRead ||= isRead(graded);
          rightOf.set(trace.id, rightOf.get(trace.id)! + Number(isRight(graded)) / samples);
        }
        return { fractions: [...rightOf.values()], isAnyRead, nats: meanNats(traces) };
      } finally {
        generator.dispose();
      }
    };
    const plain = await measure(halves.searched, 0);
    checkPlain(plain, options);
    const latest = new Map<number, Measured>();
    const search = async (lambda: number) => {
      const measured = await measure(halves.searched, lambda);
      const { lossPoints } = differenceOf(plain, measured);
      options.onMeasurement?.({ lambda, lossPoints, nats: measured.nats });
      latest.set(lambda, measured);
      return { loss: lossPoints / 100, nats: measured.nats };
    };
    const solved: AccuracyStrength = await solveAccuracyLoss(search, {
      target: maxAccuracyLoss / 100,
      initial: 1 / proxy.gradientNorm,
    });
    const { lambda, isReached, nats } = solved;
    const heldOut = differenceOf(await measure(halves.keptBack, 0), await measure(halves.keptBack, lambda));
    const searched = differenceOf(plain, latest.get(lambda)!);
    const { precision } = opened.model.compiler;
    const settings = { estimator, order, precision, sampler, samples, maxTokens, seed, data };
    const calibration = { lambda, maxAccuracyLoss, isReached, searched, heldOut, meanNats: nats, ...settings };
    await addCalibration(folder, calibration);
    return calibration;
  } finally {
    grader.dispose();
    defence.dispose();
  }
}

interface Measured {
  /** Share of right responses of each question. */
  readonly fractions: readonly number[];
  readonly isAnyRead: boolean;
  readonly nats: number;
}

type Answered = Trace & { readonly forcedText?: string };

/** Samples every question, and forces answers where that is asked for. */
async function answerQuestions(
  generator: Generator,
  items: readonly TaskItem[],
  options: Omit<CalibrateAccuracyOptions, 'sampler'> & {
    readonly sampler: SamplerSettings;
    readonly opened: OpenedModel;
  },
): Promise<Answered[]> {
  const { opened, template, chat = 'auto', samples, seed, sampler, signal } = options;
  const { model, tokenizer } = opened;
  if (tokenizer === undefined) throw new ConfigError('Questions are text: the model needs a tokenizer to read them.');
  const { vocabSize, maxPositions } = model.config;
  const now = chatTime(options.chatDate);
  const generate = async (requests: readonly GenerationRequest[]): Promise<Trace[]> => {
    const traces: Trace[] = [];
    await generator.generate(requests, { signal, onTrace: (trace) => void traces.push(trace) });
    signal?.throwIfAborted();
    return traces;
  };
  const traces = await generate(
    items.map((item) => {
      const row = { id: item.id, prompt: buildPrompt(item, template) };
      const { tokens } = encodeRow(row, { tokenizer, vocabSize, chat, now, where: `question '${item.id}'` });
      const maxTokens = Math.min(options.maxTokens, maxPositions - tokens.length);
      return { id: item.id, promptTokens: tokens, samples, maxTokens, sampler, seed };
    }),
  );
  if (!options.forceAnswers) return traces;
  const suffix = tokenizer.encode(ANSWER_FORCING_SUFFIX, { addSpecialTokens: false });
  const endIds = new Set([...model.config.eosTokenIds, ...tokenizer.eosTokenIds]);
  const unboxed = traces.filter(({ text }) => !isBoxed(text));
  const forced = await generate(
    unboxed
      .map(({ promptTokens, tokens }, index) => {
        const response = endIds.has(tokens.at(-1) ?? -1) ? tokens.slice(0, -1) : tokens;
        const prefix = [...promptTokens, ...response, ...suffix];
        return {
          id: String(index),
          promptTokens: prefix,
          maxTokens: ANSWER_FORCING_TOKENS,
          sampler: { temperature: 0 },
        };
      })
      .filter(({ promptTokens }) => promptTokens.length + ANSWER_FORCING_TOKENS <= maxPositions),
  );
  const textOf = new Map(forced.map(({ id, text }) => [unboxed[Number(id)], text]));
  return traces.map((trace) => ({ ...trace, forcedText: textOf.get(trace) }) as Answered);
}

function checkPlain({ fractions, isAnyRead }: Measured, { data, maxAccuracyLoss }: CalibrateAccuracyOptions): void {
  if (!isAnyRead) {
    throw new DataError(
      `${data}: none of the ${fractions.length} responses of the teacher holds an answer. Raise maxTokens, force answers, or look at the template.`,
    );
  }
  const points = 100 * meanOf(fractions);
  if (points >= maxAccuracyLoss) return;
  throw new DataError(
    `${data}: the teacher has ${points.toFixed(1)} % right answers without a defence; it cannot lose ${maxAccuracyLoss} points. Ask for less, or give questions that it can answer.`,
  );
}

function differenceOf(plain: Measured, tilted: Measured): LossOnQuestions {
  const differences = plain.fractions.map((value, index) => 100 * (value - tilted.fractions[index]));
  const mean = meanOf(differences);
  const numQuestions = differences.length;
  const square = differences.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { lossPoints: mean, errorPoints: Math.sqrt(square / (numQuestions - 1) / numQuestions), numQuestions };
}

function meanNats(traces: readonly Trace[]): number {
  const values = traces.flatMap(({ statistics }) => statistics?.klNats ?? []);
  return values.length === 0 ? 0 : meanOf(values);
}

const meanOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
