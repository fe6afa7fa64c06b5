import { z } from 'zod';
import { isDistillRun, readDistillRecords } from '../report/distill-records.js';
import { writeDistillReport } from '../report/distill-report.js';
import { writeReport } from '../report/write-report.js';
import { commandOptions, defineCommand } from './command.js';

export const report = defineCommand({
  description:
    'Makes the report of a run again: report.html and the figures, from the records in its folder (tradeoff.json or distill.json, and ' +
    'details.json). The same records give the same bytes. A run that has not ended may be reported on too; the page says so.',
  arguments: ['run'],
  options: commandOptions({
    run: z.string().meta({ description: 'Output folder of azeotrope tradeoff or distill', placeholder: 'folder' }),
  }),
  examples: ['azeotrope report runs/embedded'],
  run: async (context, { run, json }) => {
    const written = isDistillRun(run)
      ? await writeDistillReport(run, await readDistillRecords(run))
      : await writeReport(run);
    if (!json) context.write(`${written.path}\n${written.figures.map((path) => `  ${path}\n`).join('')}`);
    return written;
  },
});
