import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { z } from 'zod';
import { distillSchema, METHODS } from '../experiment/distill/config.js';
import { describePlan, planDistill } from '../experiment/distill/plan-distill.js';
import type { DistillProgress } from '../experiment/distill/run-context.js';
import { runDistill } from '../experiment/distill/run-distill.js';
import { measureRates } from '../experiment/estimate/rates.js';
import { DISTILL_PAGES, writeDistillReport } from '../report/distill-report.js';
import { openPage } from '../report/open-page.js';
import { serveRun } from '../report/serve-run.js';
import { type CommandContext, commandOptions, defineCommand } from './command.js';
import { summarizeDistill } from './distill-summary.js';
import { precisionSettings, runPrecisionOption } from './model-option.js';
import { readStrictConfig } from './run-config.js';
import { setOption } from './set-option.js';

const EMBEDDED_RECIPE = fileURLToPath(new URL('../../recipes/gad-embedded.yaml', import.meta.url));

const { seed: _seed, ...common } = commandOptions({}).shape;

export const distill = defineCommand({
  description:
    'Distils students from a teacher: by its text (seqkd), by its probabilities (white-box-kd, gkd), or by its text on the student’s own ' +
    'responses against a discriminator (gad). The teacher is a model, a file of responses or an endpoint. What is done is kept: the ' +
    'same command goes on where it was stopped.',
  options: z.strictObject({
    method: z
      .array(z.enum(METHODS))
      .default([...METHODS])
      .meta({ description: 'Students to make, beside those of seqkd', placeholder: 'method' }),
    config: z.string().optional().meta({
      description: 'Configuration of the run (YAML)',
      placeholder: 'file',
      whenAbsent: 'the embedded task, recipes/gad-embedded.yaml',
    }),
    output: z.string().optional().meta({
      description: 'Folder of the run',
      placeholder: 'folder',
      whenAbsent: 'runs/<name of the configuration>',
    }),
    teacherUrl: z.string().optional().meta({
      description:
        'OpenAI-compatible endpoint of the teacher, such as https://host/v1; its key is read from AZEOTROPE_API_KEY',
      placeholder: 'url',
    }),
    teacherModel: z
      .string()
      .optional()
      .meta({ description: 'Name of the teacher at that endpoint', placeholder: 'name' }),
    traces: z
      .string()
      .optional()
      .meta({ description: 'Stored responses of the teacher (.jsonl)', placeholder: 'file' }),
    open: z
      .boolean()
      .default(false)
      .meta({ description: 'Watch the report in a browser, filling while the run lasts' }),
    plan: z
      .boolean()
      .default(false)
      .meta({ description: 'Tell students, steps, tokens, memory and time, and do nothing' }),
    precision: runPrecisionOption.meta({
      description:
        'What all that samples, scores and trains computes in; auto: bfloat16 where this machine has matrix units or AVX-512 for it, several times faster',
      whenAbsent: 'what the configuration says, or float32',
    }),
    set: setOption,
    ...common,
  }),
  examples: [
    'azeotrope distill --method gad',
    'azeotrope distill --method seqkd --method gad --config recipes/gad-embedded.yaml --set traces.count=500',
  ],
  howToContinue: () => 'What is done is kept; the same command goes on from there.',
  run: async (context, options) => {
    const { teacherUrl, teacherModel, traces } = options;
    const settings = [
      ...options.set,
      ...precisionSettings(options.precision),
      ...(teacherUrl === undefined ? [] : [`teacher.url=${teacherUrl}`]),
      ...(teacherModel === undefined ? [] : [`teacher.model=${teacherModel}`]),
      ...(traces === undefined ? [] : [`teacher.traces=${traces}`]),
    ];
    const config = await readStrictConfig(distillSchema, options.config ?? EMBEDDED_RECIPE, settings);
    if (options.plan) {
      const rates = await measureRates({ batch: config.sampling.maxBatch, precision: config.precision });
      const plans = await planDistill(config, options.method, rates);
      context.write(describePlan(plans, rates));
      return plans;
    }
    const output = options.output ?? join('runs', config.name);
    const server = options.open
      ? await serveRun(output, { records: DISTILL_PAGES, intervalMs: LIVE_INTERVAL_MS })
      : undefined;
    if (server !== undefined) {
      context.log(`The report fills as the run goes on: ${server.url}`);
      openPage(server.url);
    }
    try {
      const progress = createDistillProgress(context);
      const records = await runDistill({
        ...{ config, output, methods: options.method, threads: options.threads },
        command: describeCommand(options),
        ...{ signal: context.signal, log: context.log },
        onRow: async (rows) => void (await writeDistillReport(output, rows)),
        onProgress: progress.update,
      });
      progress.stop();
      const { path } = await writeDistillReport(output, records);
      context.write(summarizeDistill(records));
      context.write(`\nReport: ${path}\n        ${pathToFileURL(resolve(path)).href}\n`);
      if (server !== undefined) await sleep(2 * LIVE_INTERVAL_MS); // an open page hears of the end
      const { students: _students, responses: _responses, config: _config, ...details } = records.details;
      return { output, report: path, distill: records.distill, details };
    } finally {
      await server?.dispose();
    }
  },
});

/** How often an open page looks for news. */
const LIVE_INTERVAL_MS = 2000;

/** The command without the folder it writes to. */
function describeCommand({
  method,
  config,
  set,
  traces,
  teacherUrl,
  teacherModel,
}: {
  method: readonly string[];
  config?: string | undefined;
  set: readonly string[];
  traces?: string | undefined;
  teacherUrl?: string | undefined;
  teacherModel?: string | undefined;
}): string {
  const flags = { config, traces, 'teacher-url': teacherUrl, 'teacher-model': teacherModel };
  return [
    'azeotrope distill',
    ...(method.length === METHODS.length ? [] : method.map((each) => `--method ${each}`)),
    ...Object.entries(flags).flatMap(([name, value]) => (value === undefined ? [] : [`--${name} ${value}`])),
    ...set.map((setting) => `--set ${setting}`),
  ].join(' ');
}

/** A bar for each student, and for the teacher's answers. */
function createDistillProgress(context: CommandContext) {
  let bar:
    | { readonly name: string; shown: number; readonly progress: ReturnType<CommandContext['createProgress']> }
    | undefined;
  return {
    update({ name, unit, done, total, note }: DistillProgress) {
      if (bar?.name !== name) {
        bar?.progress.stop();
        bar = {
          name,
          shown: done - 1,
          progress: context.createProgress({ label: name, total, unit, initial: done - 1 }),
        };
      }
      bar.progress.advance(done - bar.shown, note);
      bar.shown = done;
    },
    stop: () => bar?.progress.stop(),
  };
}
