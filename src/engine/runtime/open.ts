/** Chooses and opens a runtime. */
import { ConfigError, messageOf } from '../../support/errors.js';
import { createCApiRuntime } from './c-api.js';
import { checkThreads } from './c-api-environment.js';
import { createStockRuntime } from './stock.js';
import { resolveThreads } from './threads.js';
import type { Runtime, RuntimeKind } from './types.js';

export interface RuntimeOptions {
  /** Threads one run may use. Default: the physical cores this process may use. */
  readonly threads?: number | undefined;
  /** Default: 'auto', the C API, and the stock binding where that does not load. AZEOTROPE_RUNTIME overrides it. */
  readonly kind?: RuntimeKind | 'auto' | undefined;
}

const KINDS: readonly string[] = ['auto', 'c-api', 'stock'];

/**
 * Opens a runtime. Open one, share it, and dispose of it at the end: all C API runtimes of a process share one pool of threads,
 * so their number of threads must be the same.
 * Errors: ConfigError for a wrong number of threads or kind; BackendError when no implementation loads.
 */
export function openRuntime(options: RuntimeOptions = {}): Runtime {
  const threads = resolveThreads(options.threads);
  const kind = chooseKind(options.kind ?? 'auto', process.env.AZEOTROPE_RUNTIME);
  if (kind === 'stock') return createStockRuntime(threads);
  checkThreads(threads);
  if (kind === 'c-api') return createCApiRuntime(threads);
  try {
    return createCApiRuntime(threads);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    return createStockRuntime(threads, messageOf(error));
  }
}

function chooseKind(asked: string, override: string | undefined): RuntimeKind | 'auto' {
  const [kind, source] = override === undefined || override === '' ? [asked, 'kind'] : [override, 'AZEOTROPE_RUNTIME'];
  if (!KINDS.includes(kind)) {
    throw new ConfigError(`${source} is '${kind}', expected one of ${KINDS.map((known) => `'${known}'`).join(', ')}.`);
  }
  return kind as RuntimeKind | 'auto';
}
