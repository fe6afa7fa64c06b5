/** A compiler that clocks what runs on the engine. */
import type { Compiler } from '../../src/engine/compiler.js';

export interface Probe {
  readonly compiler: Compiler;
  /** Time inside runs so far. */
  engineMs: number;
  /** Run without leaving the thread, so that `engineMs` has no turns of the event loop in it. */
  isBlocking: boolean;
}

export function createProbe(inner: Compiler): Probe {
  const clocked = async (run: () => Promise<void> | void): Promise<void> => {
    const started = performance.now();
    await run();
    probe.engineMs += performance.now() - started;
  };
  const probe: Probe = {
    engineMs: 0,
    isBlocking: false,
    compiler: {
      runtime: inner.runtime,
      precision: inner.precision,
      bind(key, build, tensors, options) {
        const binding = inner.bind(key, build, tensors, options);
        return {
          run: () => {
            if (!probe.isBlocking) return clocked(() => binding.run());
            const started = performance.now();
            binding.runSync();
            probe.engineMs += performance.now() - started;
            return Promise.resolve();
          },
          runSync: () => binding.runSync(),
          dispose: () => binding.dispose(),
        };
      },
      dispose: () => inner.dispose(),
    },
  };
  return probe;
}
