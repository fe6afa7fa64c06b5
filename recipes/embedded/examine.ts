/** Asking models problems of the embedded task. */
import { add } from '../../src/engine/graph/ops.js';
import { createGenerator, type GeneratorOptions } from '../../src/inference/generator.js';
import { EXCLUDED, type LogitsProcessor } from '../../src/inference/samplers/processor.js';
import type { SamplerSettings } from '../../src/inference/samplers/settings.js';
import type { Trace } from '../../src/inference/trace.js';
import type { LanguageModel } from '../../src/model/language-model.js';
import { type Problem, promptOf } from '../../src/tasks/embedded/problems.js';
import { checkAnswer, describeTrace } from '../../src/tasks/embedded/read-trace.js';
import { CONNECTIVES, PEOPLE } from '../../src/tasks/embedded/words.js';
import { MAX_NEW_TOKENS, tokenizer } from './models.js';

const MAX_BATCH = 256;

/** Adds nats to the logits of words, within the support that truncation leaves. */
export function preferWords(words: readonly string[], nats: number): LogitsProcessor {
  return addToWords(words, { nats, name: 'preferWords', position: 'afterTruncation' });
}

/** Never says these words. */
export function forbidWords(words: readonly string[]): LogitsProcessor {
  return addToWords(words, { nats: EXCLUDED, name: 'forbidWords', position: 'beforeTemperature' });
}

function addToWords(
  words: readonly string[],
  { nats, name, position }: { nats: number; name: string; position: NonNullable<LogitsProcessor['position']> },
): LogitsProcessor {
  const added = new Float32Array(tokenizer.vocabSize);
  for (const word of words) added[tokenizer.idOf(word)!] = nats;
  return {
    name,
    variant: `${words.join()}/${nats}`,
    position,
    settings: { words, nats },
    isNeeded: () => true,
    size: () => 0,
    columns: () => ({}),
    build: (g, logits) => ({ logits: add(g, logits, g.constant('float32', [1, added.length], added)) }),
    fill: () => undefined,
  };
}

export interface Answers {
  /** In the order of the problems. */
  readonly traces: readonly Trace[];
  readonly numCorrect: number;
  readonly durationMs: number;
}

/** One response to each problem. */
export async function askProblems(
  model: LanguageModel,
  problems: readonly Problem[],
  options: { sampler: Partial<SamplerSettings>; seed?: number } & Pick<GeneratorOptions, 'processors' | 'companions'>,
): Promise<Answers> {
  const { sampler, seed = 0, processors, companions } = options;
  const generator = createGenerator(model, { tokenizer, maxBatch: MAX_BATCH, processors, companions });
  const traces: Trace[] = [];
  const startMs = performance.now();
  try {
    const requests = problems.map((problem, index) => ({
      id: String(index),
      promptTokens: tokenizer.encode(promptOf(problem)),
      maxTokens: MAX_NEW_TOKENS,
      sampler,
      seed,
    }));
    await generator.generate(requests, {
      onTrace(trace) {
        traces[Number(trace.id)] = trace;
      },
    });
  } finally {
    generator.dispose();
  }
  const numCorrect = problems.filter((problem, index) => checkAnswer(traces[index].text, problem)).length;
  return { traces, numCorrect, durationMs: performance.now() - startMs };
}

/** Greedy answers, and greedy answers without merged steps: has it the knowledge, whatever its style? */
export async function examineModel(
  model: LanguageModel,
  problems: readonly Problem[],
): Promise<{ greedy: Answers; explicit: Answers }> {
  const sampler = { temperature: 0 };
  const greedy = await askProblems(model, problems, { sampler });
  const explicit = await askProblems(model, problems, { sampler, processors: [forbidWords(CONNECTIVES)] });
  return { greedy, explicit };
}

/** How traces are written, in numbers a trace or shares. */
export interface StyleStatistics {
  readonly mergedPerTrace: number;
  readonly singlePerTrace: number;
  /** Of merged steps, those that name the lines. */
  readonly mergedNamedFraction: number;
  /** Of single steps, those that name the line behind the place. */
  readonly lateFraction: number;
  readonly namedPerTrace: number;
  /** Of the lines named, those that are the person's. */
  readonly namedRightFraction: number;
  /** Of all steps, those that lead where they should. */
  readonly stepsRightFraction: number;
  /** Of steps that name lines, those that end where these lead. */
  readonly mapRightFraction: number;
  readonly grammaticalFraction: number;
  /** Of all people, those whose line is named in some trace. */
  readonly namedPeopleFraction: number;
  readonly tokensPerTrace: number;
}

export function styleOf(texts: readonly string[]): StyleStatistics {
  const facts = texts.map((text) => describeTrace(text));
  const sum = (of: (fact: (typeof facts)[number]) => number) => facts.reduce((total, fact) => total + of(fact), 0);
  const ratio = (part: number, whole: number) => Number((part / Math.max(1, whole)).toFixed(3));
  const n = texts.length;
  const merged = sum((fact) => fact.numMerged);
  const single = sum((fact) => fact.numSingle);
  const named = sum((fact) => fact.numNamed);
  return {
    mergedPerTrace: ratio(merged, n),
    singlePerTrace: ratio(single, n),
    mergedNamedFraction: ratio(
      sum((fact) => fact.numMergedNamed),
      merged,
    ),
    lateFraction: ratio(
      sum((fact) => fact.numLate),
      single,
    ),
    namedPerTrace: ratio(named, n),
    namedRightFraction: ratio(
      sum((fact) => fact.numNamedRight),
      named,
    ),
    stepsRightFraction: ratio(
      sum((fact) => fact.numRight),
      single + merged,
    ),
    mapRightFraction: ratio(
      sum((fact) => fact.numConsistent),
      single + sum((fact) => fact.numMergedNamed),
    ),
    grammaticalFraction: ratio(
      sum((fact) => Number(fact.isGrammatical)),
      n,
    ),
    namedPeopleFraction: ratio(new Set(facts.flatMap(({ namedPeople }) => namedPeople)).size, PEOPLE.length),
    tokensPerTrace: ratio(
      texts.reduce((total, text) => total + text.split(' ').length + 1, 0),
      n,
    ),
  };
}
