import { z } from 'zod';
import { type Diagnosis, examine } from '../jobs/doctor.js';
import { commandOptions, defineCommand } from './command.js';
import { formatBytes } from './format.js';

export const doctor = defineCommand({
  description:
    'Shows what this installation computes with and why: native kernels and their instruction set, the runtime, versions, ' +
    'memory; then measures for a few seconds what the machine reaches.',
  options: commandOptions({
    measure: z.boolean().default(true).meta({ description: 'Measure the rates of this machine' }),
  }),
  examples: ['azeotrope doctor', 'azeotrope doctor --threads 1 --json'],
  howToContinue: () => 'Nothing was changed; run it again.',
  run: async (context, { measure, threads }) => {
    const diagnosis = await examine({ measure, threads });
    context.write(describe(diagnosis));
    return diagnosis;
  },
});

const LEVELS: Record<Diagnosis['kernels']['level'], string> = {
  none: 'none',
  portable: 'portable C',
  avx2: 'AVX2',
  avx512: 'AVX-512',
  avx512bf16: 'AVX-512 with bfloat16 products (AVX512_BF16)',
  amx: 'AVX-512 and bfloat16 matrix units (AMX)',
};

/** The path in use and, where it is not the best one, what is missing. */
function describeKernels({ path, level, numOps, reason, compiler, isStale }: Diagnosis['kernels']): string[] {
  const cc = compiler ?? 'no C compiler is found (cc; CC names another)';
  if (path === 'absent') return [`none: ${reason}`, `compiler: ${cc}`, 'standard nodes of the runtime compute instead'];
  const lines = [`${path}, ${numOps} ops, ${LEVELS[level]}${reason === null ? '' : ` (${reason})`}`];
  if (path === 'prebuilt') lines.push(`compiler: ${cc}`);
  if (isStale) lines.push('older than their sources: run `node scripts/build-kernels.mjs`');
  return lines;
}

function describeHalf(bfloat16: Diagnosis['bfloat16'], isDefault: boolean): string {
  if (bfloat16 === 'float32') return 'not here: float32 is computed instead';
  return isDefault
    ? 'computed by the kernels'
    : 'computed by the kernels where it is asked for; the default is float32, which is faster in training without AVX-512';
}

function describe({
  versions,
  machine,
  runtime,
  kernels,
  bfloat16,
  isHalfDefault,
  hasBlocks,
  rates,
}: Diagnosis): string {
  const binding = runtime.kind === 'c-api' ? 'C API' : 'stock binding';
  const rows: [string, string][] = [
    [
      'versions',
      Object.entries(versions)
        .map(([name, version]) => `${name} ${version}`)
        .join(', '),
    ],
    ['machine', `${machine.processor}, ${machine.platform}, ${machine.system}`],
    ['threads', `${runtime.threads}, of ${machine.numProcessors} processors`],
    ['memory', `${formatBytes(machine.memoryBytes)}, of which ${formatBytes(machine.freeMemoryBytes)} are free`],
    ['runtime', `ONNX Runtime through its ${binding}${runtime.reason === null ? '' : ` (${runtime.reason})`}`],
    ...describeKernels(kernels).map((line, index): [string, string] => [index === 0 ? 'kernels' : '', line]),
    ['bfloat16', describeHalf(bfloat16, isHalfDefault)],
    ['GGUF blocks', hasBlocks ? 'sampling and scoring compute on them as they are stored' : 'read as float32 weights'],
  ];
  if (rates !== null) {
    rows.push(['measured', `${rates.float32Gflops.toFixed(0)} GFLOP/s in float32 matrix products`]);
    if (rates.bfloat16Gflops !== null) {
      rows.push(['', `${rates.bfloat16Gflops.toFixed(0)} GFLOP/s in bfloat16 matrix products`]);
    }
    rows.push(['', `${rates.memoryGigabytesPerSecond.toFixed(1)} GB/s of memory on one thread`]);
  }
  return `${rows.map(([name, value]) => `${name.padEnd(12)}${value}`).join('\n')}\n`;
}
