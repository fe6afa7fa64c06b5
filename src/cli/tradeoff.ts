import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { z } from 'zod';
import { effectiveConfig } from '../experiment/config.js';
import { type RunProgress, runTradeoff } from '../experiment/run-tradeoff.js';
import { openPage } from '../report/open-page.js';
import { serveRun } from '../report/serve-run.js';
import { writeReport } from '../report/write-report.js';
import { type CommandContext, commandOptions, defineCommand } from './command.js';
import { precisionSettings, runPrecisionOption } from './model-option.js';
import { readRunConfig } from './run-config.js';
import { setOption } from './set-option.js';
import { planTradeoff } from './tradeoff-plan.js';
import { summarizeRun } from './tradeoff-summary.js';

const EMBEDDED_RECIPE = fileURLToPath(new URL('../../recipes/embedded.yaml', import.meta.url));

const { seed: _seed, ...common } = commandOptions({}).shape;

export const tradeoff = defineCommand({
  description:
    'Measures how much a student loses for each point that the teacher gives up, under antidistillation sampling and its baselines: ' +
    'holdout traces, proxy gradient, then for each setting traces, student and both evaluations, at last a report. What is done is ' +
    'kept: the same command goes on where it was stopped, and after a change of the configuration only what depends on it is done again.',
  options: z.strictObject({
    config: z.string().optional().meta({
      description: 'Configuration of the run (YAML)',
      placeholder: 'file',
      whenAbsent: 'the embedded task, recipes/embedded.yaml',
    }),
    output: z.string().optional().meta({
      description: 'Folder of the run',
      placeholder: 'folder',
      whenAbsent: 'runs/<name of the configuration>',
    }),
    quick: z.boolean().default(false).meta({ description: 'Fewer points: what the configuration says of a quick run' }),
    open: z
      .boolean()
      .default(false)
      .meta({ description: 'Watch the report in a browser, filling while the run lasts' }),
    plan: z.boolean().default(false).meta({ description: 'Tell stages, tokens, memory and time, and do nothing' }),
    precision: runPrecisionOption,
    set: setOption,
    workers: z
      .int()
      .min(1)
      .optional()
      .meta({ description: 'Processes that compute', whenAbsent: 'one for each core', unit: 'processes' }),
    ...common,
  }),
  examples: [
    'azeotrope tradeoff --quick',
    'azeotrope tradeoff --config recipes/gsm8k-smollm2.yaml --output runs/gsm8k',
  ],
  howToContinue: () => 'What is done is kept; the same command goes on from there.',
  run: async (context, options) => {
    const { quick: isQuick } = options;
    const whole = await readRunConfig(options.config ?? EMBEDDED_RECIPE, [
      ...options.set,
      ...precisionSettings(options.precision),
    ]);
    const config = {
      ...effectiveConfig(whole, isQuick),
      ...(options.workers !== undefined && { workers: options.workers }),
      ...(options.threads !== undefined && { threads: options.threads }),
    };
    if (options.plan) return planTradeoff(context, config);
    const output = options.output ?? join('runs', isQuick ? `${config.name}-quick` : config.name);
    const command = [
      'azeotrope tradeoff',
      ...(options.config ? [`--config ${options.config}`] : []),
      ...(isQuick ? ['--quick'] : []),
      ...(options.precision ? [`--precision ${options.precision}`] : []),
      ...options.set.map((setting) => `--set ${setting}`),
    ];
    const server = options.open ? await serveRun(output, { intervalMs: LIVE_INTERVAL_MS }) : undefined;
    if (server !== undefined) {
      context.log(`The report fills as the run goes on: ${server.url}`);
      openPage(server.url);
    }
    const show = createRunProgress(context);
    const tables = await runTradeoff({
      config,
      isQuick,
      output,
      command: command.join(' '),
      signal: context.signal,
      log: context.log,
      onProgress: show.update,
    });
    show.stop();
    const { path } = await writeReport(output);
    context.write(summarizeRun(tables));
    context.write(`\nReport: ${path}\n        ${pathToFileURL(resolve(path)).href}\n`);
    if (server !== undefined) {
      await sleep(2 * LIVE_INTERVAL_MS); // an open page hears of the end
      await server.dispose();
    }
    return { output, report: path, ...tables };
  },
});

/** How often an open page looks for news. */
const LIVE_INTERVAL_MS = 2000;
/** Longest note behind the time left: a line of a terminal that is not wide. */
const NOTE_LENGTH = 44;

function createRunProgress(context: CommandContext) {
  let bar: ReturnType<CommandContext['createProgress']> | undefined;
  let shown = 0;
  return {
    update({ doneFraction, initialFraction, numDone, numStages, running }: RunProgress) {
      const done = 100 * doneFraction;
      if (bar === undefined) {
        shown = 100 * initialFraction;
        bar = context.createProgress({ label: 'run', total: 100, unit: '%', initial: shown });
      }
      const [first = ''] = running;
      const note = first.length > NOTE_LENGTH ? `${first.slice(0, NOTE_LENGTH - 1)}…` : first;
      // A stage that took less than was told of it must not turn the bar back.
      bar.advance(Math.max(0, done - shown), `${numDone}/${numStages} stages${note && `, ${note}`}`);
      shown = Math.max(shown, done);
    },
    stop: () => bar?.stop(),
  };
}
