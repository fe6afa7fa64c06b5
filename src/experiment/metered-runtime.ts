/** A runtime that counts how long it is waited for. */
import type { Runtime } from '../engine/runtime/types.js';

export interface MeteredRuntime {
  readonly runtime: Runtime;
  /** Milliseconds spent waiting for runs and compilation so far. */
  readonly engineMs: () => number;
}

/** Runs of one runtime follow one another, so the times in which at least one is awaited are added up once. */
export function meterRuntime(runtime: Runtime, now: () => number = () => performance.now()): MeteredRuntime {
  let totalMs = 0;
  let numAwaited = 0;
  let sinceMs = 0;
  const begin = () => {
    if (numAwaited === 0) sinceMs = now();
    numAwaited += 1;
  };
  const end = () => {
    numAwaited -= 1;
    if (numAwaited === 0) totalMs += now() - sinceMs;
  };
  const timed = <T>(work: () => T): T => {
    begin();
    try {
      return work();
    } finally {
      end();
    }
  };
  const session: Runtime['session'] = (model, options) => {
    const inner = timed(() => runtime.session(model, options));
    return {
      dispose: () => inner.dispose(),
      bind(inputs, outputs) {
        const binding = inner.bind(inputs, outputs);
        return {
          async run() {
            begin();
            try {
              await binding.run();
            } finally {
              end();
            }
          },
          runSync: () => timed(() => binding.runSync()),
          dispose: () => binding.dispose(),
        };
      },
    };
  };
  // Everything else is the runtime's own, getters included.
  const metered: Runtime = Object.create(runtime, { session: { value: session } });
  return { runtime: metered, engineMs: () => totalMs };
}
