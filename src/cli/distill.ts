import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { wilsonInterval } from '../evaluation/intervals.js';
import { distillSchema, METHODS } from '../experiment/distill/config.js';
import { describePlan, planDistill } from '../experiment/distill/plan-distill.js';
import type { Distill } from '../experiment/distill/records.js';
import { runDistill } from '../experiment/distill/run-distill.js';
import { measureRates } from '../experiment/estimate/rates.js';
import { writeDistillReport } from '../report/distill-report.js';
import { commandOptions, defineCommand } from './command.js';
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
    plan: z
      .boolean()
      .default(false)
      .meta({ description: 'Tell students, steps, tokens, memory and time, and do nothing' }),
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
      ...(teacherUrl === undefined ? [] : [`teacher.url=${teacherUrl}`]),
      ...(teacherModel === undefined ? [] : [`teacher.model=${teacherModel}`]),
      ...(traces === undefined ? [] : [`teacher.traces=${traces}`]),
    ];
    const config = await readStrictConfig(distillSchema, options.config ?? EMBEDDED_RECIPE, settings);
    if (options.plan) {
      const rates = await measureRates({ batch: config.sampling.maxBatch });
      const plans = await planDistill(config, options.method, rates);
      context.write(describePlan(plans, rates));
      return plans;
    }
    const output = options.output ?? join('runs', config.name);
    let bar: { readonly name: string; readonly progress: ReturnType<typeof context.createProgress> } | undefined;
    const result = await runDistill({
      config,
      methods: options.method,
      output,
      threads: options.threads,
      signal: context.signal,
      log: context.log,
      onRow: async (distill) => void (await writeDistillReport(output, distill)),
      onProgress({ student, step, totalSteps, note }) {
        if (bar?.name !== student) {
          bar?.progress.stop();
          const progress = context.createProgress({
            label: student,
            total: totalSteps,
            unit: 'steps',
            initial: step - 1,
          });
          bar = { name: student, progress };
        }
        bar.progress.advance(1, note);
      },
    });
    bar?.progress.stop();
    context.write(describe(result));
    context.log(`Report: ${join(output, 'report.html')}`);
    const { curves: _curves, ...summary } = result;
    return { output, ...summary };
  },
});

/** A table: a line for each student, accuracy with its 95 % interval. */
function describe({ rows, undistilled, teacher }: Distill): string {
  const share = (count: { correct: number; total: number } | null): string => {
    if (count === null) return '–';
    const { lower, upper } = wilsonInterval(count.correct, count.total);
    return `${(count.correct / count.total).toFixed(3)} (${lower.toFixed(3)}–${upper.toFixed(3)})`;
  };
  const lines = [
    ['student', 'seed', 'in distribution', 'out of distribution', 'tokens', 'alarms'],
    ...(teacher === null
      ? []
      : [['teacher', '', share(teacher.inDistribution), share(teacher.outOfDistribution), '', '']]),
    ...undistilled.map((row) => [
      'undistilled',
      String(row.seed),
      share(row.inDistribution),
      share(row.outOfDistribution),
      '',
      '',
    ]),
    ...rows.map((row) => [
      row.variant,
      String(row.seed),
      share(row.inDistribution),
      share(row.outOfDistribution),
      row.meanLength.toFixed(1),
      row.alarms.map(({ kind, step }) => `${kind} at ${step}`).join(', '),
    ]),
  ];
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  return `${lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')}\n`;
}
