/** Students of the embedded task that have seen the defence and adapt to it: what each learns from. */

import { createRandom, deriveSeed } from '../../support/random.js';
import type { Problem } from '../../tasks/embedded/problems.js';
import { describeTrace } from '../../tasks/embedded/read-trace.js';
import type { TraceStyle } from '../../tasks/embedded/styles.js';
import { renderTrace } from '../../tasks/embedded/traces.js';
import { COLOURS, ORDINALS } from '../../tasks/embedded/words.js';
import type { Habits } from '../../tasks/embedded/world.js';
import type { TrainingExample } from '../../training/batches.js';
import type { Attack, AttackContext } from '../task.js';
import { readOffHabits, workOutHabits } from './read-habits.js';
import { benefitsOf } from './trace-benefit.js';

/** Of the traces, those that are kept. */
const KEPT_FRACTION = 1 / 16;
const CLEAN_TRACES = 50;
/** β of weights exp(β z), z the benefit in standard deviations. */
const SHARPNESS = 2;
/** How an attacker writes who names every line. */
const EXPLICIT_STYLE: TraceStyle = { merged: 0, mergedNamed: 1, late: 0, numbered: 0, filler: 0.1 };

const LINES: ReadonlySet<string> = new Set([...COLOURS, ...ORDINALS]);

export const ATTACKS: Readonly<Record<string, Attack>> = {
  fewestMerged: {
    description: 'keeps the sixteenth of the traces with the fewest merged steps, and reads it sixteen times as often',
    traceMultiple: 1,
    numCleanTraces: 0,
    async examples({ traces, exampleOf }) {
      const ranked = traces
        .map(({ question, text }, index) => ({ question, text, index, ...describeTrace(text) }))
        .sort((a, b) => a.numMerged - b.numMerged || b.numNamed - a.numNamed || a.index - b.index);
      const kept = ranked.slice(0, Math.ceil(KEPT_FRACTION * traces.length));
      const examples = kept.map(({ question, text }) => exampleOf(question, text));
      return traces.map((_, index) => examples[index % examples.length]);
    },
  },
  explicitSteps: {
    description: 'counts only the steps that name lines, and the end, in its loss',
    traceMultiple: 1,
    numCleanTraces: 0,
    async examples({ traces, exampleOf }) {
      return traces.map(({ question, text }) => {
        const example = exampleOf(question, text);
        return weighted(example, explicitWeights(text));
      });
    },
  },
  reweighted: {
    description:
      'has 50 undefended traces as well, and weighs every trace by e to twice its benefit to them, in standard deviations',
    traceMultiple: 1,
    numCleanTraces: CLEAN_TRACES,
    async examples({ traces, cleanTraces, base, exampleOf, signal }) {
      const examples = traces.map(({ question, text }) => exampleOf(question, text));
      const clean = cleanTraces.map(({ question, text }) => exampleOf(question, text));
      const weights = softWeights(await benefitsOf(base, examples, { clean, signal }));
      return examples.map((example, index) => {
        const numResponse = example.tokens.length - example.responseStart;
        return weighted(example, new Array<number>(numResponse).fill(weights[index]));
      });
    },
  },
  twiceTheTraces: {
    description: 'learns from twice as many traces',
    traceMultiple: 2,
    numCleanTraces: 0,
    examples: async ({ traces, exampleOf }) => traces.map(({ question, text }) => exampleOf(question, text)),
  },
  readOff: {
    description:
      'a program reads off the lines that are named, by majority, and writes explicit traces of its own with the public map',
    traceMultiple: 1,
    numCleanTraces: 0,
    examples: async (context) => rewritten(context, readOffHabits(textsOf(context), createRandom(context.seed))),
  },
  workedOut: {
    description:
      'the same program also works out, with the map, which lines fit the steps that name none: withholding is not secrecy',
    traceMultiple: 1,
    numCleanTraces: 0,
    examples: async (context) => rewritten(context, workOutHabits(textsOf(context))),
  },
};

const textsOf = ({ traces }: AttackContext): string[] => traces.map(({ text }) => text);

/** Weights of the response's tokens; those of the prompt count nothing. */
function weighted(example: TrainingExample, response: readonly number[]): TrainingExample {
  return { ...example, weights: [...new Array<number>(example.responseStart).fill(0), ...response] };
}

/** 1 for the words of steps that name a line, and for the end; 0 for those of other steps. One word is one token. */
function explicitWeights(text: string): number[] {
  const words = text.split(' ');
  const weights: number[] = [];
  while (weights.length < words.length) {
    const start = weights.length;
    const stop = words.indexOf('.', start);
    const part = words.slice(start, stop < 0 ? words.length : stop + 1);
    const isCounted = stop < 0 || part.some((word) => LINES.has(word));
    weights.push(...part.map(() => Number(isCounted)));
  }
  return [...weights, 1];
}

/** exp(β z) of the standardised benefits, of mean 1. */
function softWeights(benefits: readonly number[]): number[] {
  const mean = benefits.reduce((sum, each) => sum + each, 0) / benefits.length;
  const variance = benefits.reduce((sum, each) => sum + (each - mean) ** 2, 0) / benefits.length;
  const raw = benefits.map((each) => Math.exp((SHARPNESS * (each - mean)) / Math.sqrt(variance || 1)));
  const total = raw.reduce((sum, each) => sum + each, 0);
  return raw.map((each) => (each * raw.length) / total);
}

/** Traces of the attacker's own to the same questions. */
function rewritten({ traces, seed, exampleOf }: AttackContext, habits: Habits): TrainingExample[] {
  const random = createRandom(deriveSeed(seed, 'rewritten'));
  return traces.map(({ question }) => {
    const text = renderTrace(question.answer as Problem, habits, { style: EXPLICIT_STYLE, random });
    return exampleOf(question, text);
  });
}
