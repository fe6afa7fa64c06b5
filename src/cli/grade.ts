import { z } from 'zod';
import { gradeRows } from '../jobs/grade-rows.js';
import { commandOptions, defineCommand } from './command.js';

export const grade = defineCommand({
  description:
    'Says for each pair of answers whether they mean the same: 1/2 and 0.5, (x+1)^2 and x^2+2x+1. A response is searched for its answer.',
  options: commandOptions({
    input: z.string().meta({ description: 'Pairs {"id", "expected", "actual"} (.jsonl)', placeholder: 'file' }),
    output: z.string().optional().meta({
      description: 'Verdicts {"id", "equal"} (.jsonl)',
      placeholder: 'file',
      whenAbsent: 'standard output',
    }),
    explain: z.boolean().default(false).meta({ description: 'Add the rule, the answer that was found and the time' }),
    timeLimitMs: z.int().min(1).default(1000).meta({
      description: 'Longest time of one comparison, in milliseconds; beyond it the answers are not equal',
    }),
  }),
  examples: [
    'azeotrope grade --input pairs.jsonl',
    'azeotrope grade --input pairs.jsonl --output verdicts.jsonl --explain',
  ],
  howToContinue: ({ output }) =>
    output === undefined ? 'Nothing was written.' : `${output} keeps the verdicts; the same command does the rest.`,
  run: async (context, config) => {
    const { output } = config;
    let progress: ReturnType<typeof context.createProgress> | undefined;
    const summary = await gradeRows({
      input: config.input,
      output,
      explain: config.explain,
      timeLimitMs: config.timeLimitMs,
      signal: context.signal,
      log: context.log,
      onStart: ({ numRows }) => {
        if (output !== undefined) progress = context.createProgress({ label: 'grading', total: numRows, unit: 'rows' });
      },
      onRow: (row) => {
        if (output === undefined) context.write(`${JSON.stringify(row)}\n`);
        else progress?.advance(1);
      },
    });
    progress?.stop();
    const { numRows, numEqual, interval, numTimeouts } = summary;
    const percent = (value: number) => (100 * value).toFixed(1);
    context.log(
      `${numEqual} of ${numRows} equal: ${percent(numEqual / numRows)} % (95 % interval ${percent(interval.lower)} to ` +
        `${percent(interval.upper)})${numTimeouts > 0 ? `; ${numTimeouts} ended at the time limit` : ''}.`,
    );
    return summary;
  },
});
