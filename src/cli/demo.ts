import { z } from 'zod';
import { type Examination, runDemo } from '../jobs/demo.js';
import { commandOptions, defineCommand } from './command.js';
import { formatCount } from './format.js';
import { precisionOption, tellPrecision } from './model-option.js';

export const demo = defineCommand({
  description:
    'Trains a small transformer from nothing in front of you, then asks it: it learns to sort eight digits, and is examined on ' +
    'problems it was never trained on. Less than a minute on two cores.',
  options: commandOptions({
    steps: z.int().min(1).default(600).meta({ description: 'Optimiser steps', unit: 'steps' }),
    precision: precisionOption,
  }),
  examples: ['azeotrope demo', 'azeotrope demo --steps 1000 --seed 1'],
  howToContinue: () => 'The demo keeps nothing; run it again to see it from the start.',
  run: async (context, { steps, seed, threads, precision }) => {
    let progress: ReturnType<typeof context.createProgress> | undefined;
    const result = await runDemo({
      steps,
      seed,
      threads,
      precision,
      signal: context.signal,
      onStart({ numParameters, numProblems, before }) {
        context.write(
          `A transformer with ${formatCount(numParameters)} weights, drawn at random, is asked to sort:\n\n`,
        );
        context.write(describe(before));
        context.write(`\nNow it is trained on ${formatCount(numProblems)} other problems.\n\n`);
        progress = context.createProgress({ label: 'training', total: steps, unit: 'steps' });
      },
      onStep: ({ lossNats, numComputedTokens, durationMs }) =>
        progress?.advance(
          1,
          `loss ${lossNats.toFixed(3)} nats a digit, ${Math.round((numComputedTokens / durationMs) * 1000)} tokens/s`,
        ),
    });
    progress?.stop();
    tellPrecision(context, precision, result.precision);
    context.write(`\nThe same problems, none of which it was trained on:\n\n${describe(result.after)}`);
    context.write('\nNext: `azeotrope --help`, or README.md for your own models and data.\n');
    return result;
  },
});

function describe({ numCorrect, numProblems, shown }: Examination): string {
  const lines = shown.map(
    ({ problem, answer, isCorrect }) => `  ${isCorrect ? '✓' : '✗'} ${problem} ${answer || '(nothing)'}`,
  );
  return `${lines.join('\n')}\n  right to the last digit: ${numCorrect} of ${numProblems}\n`;
}
