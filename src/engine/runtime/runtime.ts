/** A runtime from a driver: run order, life times, checks. */
import { BackendError } from '../../support/errors.js';
import { assertUsable, checkTensors } from './check-binding.js';
import type { Driver, NativeSession } from './driver.js';
import { RunQueue } from './run-queue.js';
import { TensorStore } from './tensor-store.js';
import type { Binding, CompiledModel, Runtime, Session } from './types.js';

interface Context {
  readonly store: TensorStore;
  readonly queue: RunQueue;
  /** Sessions and bindings that are not yet disposed of. */
  readonly live: Set<{ dispose(): void }>;
}

/** The runtime over `driver`, which it owns from now on. */
export function createRuntime(driver: Driver, numThreads: number, fallbackReason: string | undefined): Runtime {
  const queue = new RunQueue();
  const store = new TensorStore(driver.allocate, (action) => queue.afterPending(action));
  const context: Context = { store, queue, live: new Set() };
  let isDisposed = false;
  const assertLive = (): void => {
    if (isDisposed) throw new BackendError('A runtime was used after dispose().');
  };
  return {
    kind: driver.kind,
    fallbackReason,
    version: driver.version,
    kernels: driver.kernels,
    numThreads,
    tensor(dtype, shape, data) {
      assertLive();
      return store.create(dtype, shape, data);
    },
    view: (base, offset, shape) => store.view(base, offset, shape),
    adopt(dtype, shape, data) {
      assertLive();
      return store.adopt(dtype, shape, data);
    },
    stored(specs) {
      assertLive();
      return store.createStored(specs);
    },
    lazy(shape, read) {
      assertLive();
      return store.createLazy(shape, read);
    },
    session(model, options = {}) {
      assertLive();
      return createSession(context, model, driver.compile(model.bytes, options));
    },
    get ownedBytes() {
      return store.ownedBytes;
    },
    dispose() {
      if (isDisposed) return;
      isDisposed = true;
      for (const resource of [...context.live]) resource.dispose();
      store.disposeAll();
      queue.afterPending(() => driver.close());
    },
  };
}

/** Frees the compiled graph with the session or the last of its bindings, whichever goes later. */
function createSession(context: Context, model: CompiledModel, native: NativeSession): Session {
  let numHolders = 1;
  const release = (): void => {
    numHolders -= 1;
    if (numHolders === 0) context.queue.afterPending(() => native.free());
  };
  let isDisposed = false;
  const session: Session = {
    bind(inputs, outputs) {
      if (isDisposed) throw new BackendError('A session was bound after dispose().');
      const binding = createBinding(context, native, checkTensors(context.store, model, inputs, outputs), release);
      numHolders += 1;
      return binding;
    },
    dispose() {
      if (isDisposed) return;
      isDisposed = true;
      context.live.delete(session);
      release();
    },
  };
  context.live.add(session);
  return session;
}

function createBinding(
  { store, queue, live }: Context,
  session: NativeSession,
  bound: ReturnType<typeof checkTensors>,
  onDispose: () => void,
): Binding {
  const native = session.prepare(bound);
  let disposalsSeen = store.disposals;
  let isDisposed = false;
  const touchOutputs = (): void => {
    for (const { tensor } of bound.outputs) tensor.touch();
  };
  const assertLive = (): void => {
    if (isDisposed) throw new BackendError('A binding was run after dispose().');
    if (disposalsSeen === store.disposals) return;
    assertUsable(bound);
    disposalsSeen = store.disposals;
  };
  const binding: Binding = {
    async run() {
      assertLive();
      touchOutputs();
      await queue.enqueue(native.start);
    },
    runSync() {
      assertLive();
      queue.assertIdle();
      touchOutputs();
      native.runSync();
    },
    dispose() {
      if (isDisposed) return;
      isDisposed = true;
      live.delete(binding);
      queue.afterPending(() => native.free());
      onDispose();
    },
  };
  live.add(binding);
  return binding;
}
