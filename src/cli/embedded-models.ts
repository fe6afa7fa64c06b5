import { z } from 'zod';
import { makeCheckpoints } from '../experiment/embedded/make-checkpoints.js';
import { compilerFor } from '../jobs/open-model.js';
import { commandOptions, defineCommand } from './command.js';

const seeds = (description: string, ...defaults: number[]) =>
  z.array(z.int().min(0)).default(defaults).meta({ description, placeholder: 'seed' });

export const embeddedModels = defineCommand({
  description:
    'Makes the checkpoints of the embedded task from their seeds, as those that the package brings along were made: a teacher in ' +
    'four to nine minutes on one thread, every other model in one. Folders that are there already are left as they are.',
  options: commandOptions({
    output: z.string().meta({ description: 'Folder for the checkpoints', placeholder: 'folder' }),
    teachers: seeds('Teachers', 1),
    proxies: seeds('Proxies', 1, 2, 3),
    students: seeds('Students', 1, 2, 3),
    proxyKind: z
      .enum(['default', 'equal', 'explicit'])
      .default('default')
      .meta({ description: 'Text that proxies read: reports, the teacher’s style, or one that explains more' }),
  })
    .omit({ seed: true })
    .extend({
      threads: z.int().min(1).default(1).meta({
        description: 'Threads that compute; another number rounds otherwise',
        unit: 'threads',
      }),
    }),
  examples: [
    'azeotrope embedded-models --output checkpoints/embedded',
    'azeotrope embedded-models --output models --teachers 2 --teachers 3',
  ],
  howToContinue: ({ output }) => `Whole models in ${output} are kept; the same command makes the others.`,
  run: async (context, { output, teachers, proxies, students, proxyKind, threads }) => {
    const requests = [
      ...teachers.map((seed) => ({ role: 'teacher' as const, kind: 'default', seed, teacherSeed: seed })),
      ...proxies.map((seed) => ({ role: 'proxy' as const, kind: proxyKind, seed, teacherSeed: seed })),
      ...students.map((seed) => ({ role: 'student' as const, kind: 'default', seed, teacherSeed: seed })),
    ];
    const { compiler, release } = compilerFor({ threads });
    const made: string[] = [];
    const progress = context.createProgress({ label: 'models', total: 100, unit: '%' });
    let numDone = 0;
    let shown = 0;
    const show = (numModels: number) => {
      const percent = Math.floor((100 * numModels) / requests.length);
      progress.advance(percent - shown);
      shown = percent;
    };
    try {
      await makeCheckpoints(requests, {
        compiler,
        output,
        signal: context.signal,
        onModel(name, state) {
          context.log(state === 'made' ? `Makes ${name}.` : `${name} is there already.`);
          if (state === 'made') made.push(name);
          show(numDone);
          numDone += 1;
        },
        onProgress: (doneFraction) => show(numDone - 1 + doneFraction),
      });
      show(requests.length);
    } finally {
      progress.stop();
      release();
    }
    context.write(`${made.length} of ${requests.length} models made in ${output}.\n`);
    return { output, made };
  },
});
