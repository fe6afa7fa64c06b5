/** The other side of `runCommand`: one measurement, its numbers as one line of JSON. */
import { ConfigError, messageOf } from '../../src/support/errors.js';

/** Each module gives `measure(options)`. */
const MEASUREMENTS: Readonly<Record<string, () => Promise<{ measure(options: never): Promise<object> }>>> = {
  limits: () => import('../measure/limits.js'),
  'train-step': () => import('../measure/train-step.js'),
  decode: () => import('../measure/decode.js'),
  defence: () => import('../measure/defence.js'),
  'defence-files': () => import('../measure/defence-files.js'),
  distill: () => import('../measure/distill.js'),
  'defence-memory': () => import('../measure/defence-memory.js'),
  scoring: () => import('../measure/scoring.js'),
  'export-checkpoint': () => import('../measure/export-checkpoint.js'),
  'train-scaling': () => import('../measure/train-scaling.js'),
  'decode-scaling': () => import('../measure/decode-scaling.js'),
  'llama-parity': () => import('../measure/llama-parity.js'),
  finetune: () => import('../measure/finetune.js'),
};

export async function runChild([name, options = '{}']: readonly string[]): Promise<void> {
  try {
    const load = MEASUREMENTS[name];
    if (load === undefined) throw new ConfigError(`no measurement is called '${name}'.`);
    const { measure } = await load();
    const sample = await measure(JSON.parse(options) as never);
    process.stdout.write(`${JSON.stringify(sample)}\n`);
  } catch (error) {
    console.error(error instanceof Error ? error.stack : messageOf(error));
    process.exitCode = 1;
  }
}
