import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { DataError } from '../support/errors.js';
import { type CommandRow, commandOptions, defineCommand } from './command.js';

const echo = defineCommand({
  description: 'Shows the configuration that a run would have.',
  arguments: ['model'],
  options: commandOptions({
    model: z.string().meta({ description: 'Model to use', placeholder: 'model' }),
    maxTokens: z.int().positive().default(256).meta({ description: 'Most tokens to sample', unit: 'tokens' }),
    temperature: z.number().min(0).default(1).meta({ description: 'Temperature; 0 is greedy' }),
    precision: z.enum(['float32', 'bfloat16']).default('float32').meta({ description: 'Precision of the weights' }),
    stop: z.array(z.string()).default([]).meta({ description: 'Text that ends a response' }),
    layers: z.array(z.int()).optional().meta({ description: 'Layers to adapt' }),
    shuffle: z.boolean().default(true).meta({ description: 'Shuffle the rows' }),
  }),
  examples: ['azeotrope echo M --max-tokens 5'],
  run: async (context, config) => {
    context.log('a note');
    context.write('text for people\n');
    const progress = context.createProgress({ label: 'echoing', total: 1, unit: 'rows' });
    progress.advance(1);
    progress.stop();
    return { config, isFrozen: Object.isFrozen(config) };
  },
});

const work = defineCommand({
  description: 'Works until it is stopped.',
  options: commandOptions({ stubborn: z.boolean().default(false).meta({ description: 'Do not listen' }) }),
  examples: ['azeotrope work'],
  howToContinue: ({ seed }) => `12 rows are kept; to continue run: azeotrope work --seed ${seed}`,
  run: async ({ signal, log }, { stubborn }) => {
    log('working');
    await sleep(20_000, undefined, stubborn ? {} : { signal });
  },
});

const fail = defineCommand({
  description: 'Fails.',
  options: commandOptions({ how: z.enum(['user', 'bug', 'later']).meta({ description: 'How' }) }),
  examples: ['azeotrope fail --how bug'],
  run: async (_, { how }) => {
    if (how === 'user') throw new DataError('rows.jsonl:3: the row has no "id". Add one.');
    if (how === 'bug') throw new TypeError('x is not a function');
    setTimeout(() => {
      throw new TypeError('thrown later');
    });
    await sleep(5000);
  },
});

const spill = defineCommand({
  description: 'Writes without end.',
  options: commandOptions({}),
  examples: ['azeotrope spill'],
  run: async ({ write }) => {
    for (;;) {
      write('line\n'.repeat(1000));
      await sleep(1);
    }
  },
});

/** A table of commands for tests: one for each thing that can happen to a command line. */
export const fixtureCommands: readonly CommandRow[] = [
  { name: 'echo', summary: 'Show the configuration', load: async () => echo },
  { name: 'work', summary: 'Work', load: async () => work },
  { name: 'fail', summary: 'Fail', load: async () => fail },
  { name: 'spill', summary: 'Write without end', load: async () => spill },
];
