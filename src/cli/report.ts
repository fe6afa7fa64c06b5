import { z } from 'zod';
import { writeReport } from '../report/write-report.js';
import { commandOptions, defineCommand } from './command.js';

export const report = defineCommand({
  description:
    'Makes the report of a trade-off run again: report.html and the figures, from tradeoff.json and details.json in its folder. The ' +
    'same records give the same bytes. A run that has not ended may be reported on too; the page says so.',
  arguments: ['run'],
  options: commandOptions({
    run: z.string().meta({ description: 'Output folder of azeotrope tradeoff', placeholder: 'folder' }),
  }),
  examples: ['azeotrope report runs/embedded'],
  run: async (context, { run, json }) => {
    const written = await writeReport(run);
    if (!json) context.write(`${written.path}\n${written.figures.map((path) => `  ${path}\n`).join('')}`);
    return written;
  },
});
