import { join } from 'node:path';
import { z } from 'zod';
import { runToyJob } from '../jobs/run-toy.js';
import type { ToyResult } from '../methods/gad/toy/run-toy.js';
import { figureFile } from '../report/figure.js';
import { toyFigure } from '../report/toy-figure.js';
import { writeFileAtomic } from '../support/files.js';
import { commandOptions, defineCommand } from './command.js';

export const toy = defineCommand({
  description:
    'Shows in a second what on-policy distillation against a discriminator (GAD) does that learning from samples (SeqKD) does not: ' +
    'the teacher has two modes over ten classes, the student is one Gaussian. GAD settles on a mode, SeqKD covers both and the gap.',
  options: commandOptions({
    steps: z.int().min(1).default(3000).meta({ description: 'Steps of each student', unit: 'steps' }),
    output: z
      .string()
      .optional()
      .meta({ description: 'Folder for toy.json and its figure, toy.svg', placeholder: 'folder' }),
  }),
  examples: ['azeotrope toy', 'azeotrope toy --seed 1 --output toy'],
  howToContinue: () => 'The toy keeps nothing until its end; run it again.',
  run: async (context, { steps, seed, output }) => {
    const result = await runToyJob({ seed, numSteps: steps }, output);
    context.write(describe(result));
    if (output !== undefined) {
      await writeFileAtomic(join(output, 'toy.svg'), figureFile(toyFigure(result)));
      context.log(`Written to ${output}: toy.json, toy.svg.`);
    }
    return result;
  },
});

const WIDTH = 30;

function describe({ teacher, gad, seqkd, gadModeMass, seqkdModeMass, modes }: ToyResult): string {
  const top = Math.max(...teacher, ...gad, ...seqkd);
  const bar = (probability: number) => '█'.repeat(Math.round((WIDTH * probability) / top)).padEnd(WIDTH);
  const number = (probability: number) => probability.toFixed(3);
  const lines = teacher.map(
    (probability, k) => `${k}      ${number(probability)}    ${number(seqkd[k])}    ${number(gad[k])}  ${bar(gad[k])}`,
  );
  const percent = (mass: number) => `${(100 * mass).toFixed(1)} %`;
  return [
    'class  teacher  SeqKD    GAD',
    ...lines,
    '',
    `largest share of the mass on one of ${modes.length} modes: SeqKD ${percent(seqkdModeMass)}, GAD ${percent(gadModeMass)}`,
    '',
  ].join('\n');
}
