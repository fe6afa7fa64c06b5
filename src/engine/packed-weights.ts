/** Packed forms of weights: made once for all graphs that read them, and again when a weight has changed. */
import { roundUp } from './onnx/half-matrix.js';
import { packedShape, packingModel } from './onnx/native/packed-weight.js';
import type { SessionCache } from './runtime/session-cache.js';
import type { Binding, PackedForm, Runtime, Tensor } from './runtime/types.js';

/** Numbers of a line of 64 bytes: each form begins with one, as the kernels that write past the cache need it. */
const LINE_NUMBERS = 32;

/** What is asked for: the form of one weight or of several as one. */
interface PackedRequest {
  readonly form: PackedForm;
  readonly sources: readonly Tensor[];
}

/** Packed together by one graph, in one block of memory; freed together. */
interface Group {
  readonly keys: readonly string[];
  readonly sources: readonly Tensor[];
  readonly versions: number[];
  readonly binding: Binding;
  readonly memory: Tensor<'bfloat16'>;
  numUsers: number;
}

interface Packed {
  readonly group: Group;
  readonly tensor: Tensor<'bfloat16'>;
}

/** What a binding holds. */
export interface PackedHold {
  /** One a request, in order. */
  readonly tensors: readonly Tensor<'bfloat16'>[];
  /** Bindings to run, before anything reads the tensors, for sources that have changed. */
  stale(): readonly Binding[];
  /** Once, when nothing reads the tensors any more. */
  release(): void;
}

export interface PackedWeights {
  hold(requests: readonly PackedRequest[]): PackedHold;
}

export function createPackedWeights(runtime: Runtime, sessions: SessionCache): PackedWeights {
  const known = new Map<string, Packed>();
  const ids = new WeakMap<Tensor, number>();
  let numIds = 0;
  const idOf = (tensor: Tensor): number => {
    const id = ids.get(tensor) ?? numIds++;
    ids.set(tensor, id);
    return id;
  };
  const keyOf = ({ form, sources }: PackedRequest): string => `${form} ${sources.map(idOf).join(' ')}`;

  const packing = (requests: readonly PackedRequest[], targets: readonly Tensor[]): Binding => {
    const packs = requests.map(({ form, sources }) => ({ form, shapes: sources.map(({ shape }) => shape) }));
    const session = sessions.get(`pack ${JSON.stringify(packs)}`, () => packingModel(packs));
    const inputs = requests.flatMap(({ sources }, pack) =>
      sources.map((tensor, index) => [`w${pack}.${index}`, tensor] as const),
    );
    const outputs = targets.map((tensor, index) => [`p${index}`, tensor] as const);
    return session.bind(Object.fromEntries(inputs), Object.fromEntries(outputs));
  };

  /** Values that are made when they are asked for never stand in memory together: one request after the other. */
  const latePacking = (requests: readonly PackedRequest[], targets: readonly Tensor[]): Binding => {
    const bindOne = ({ form, sources }: PackedRequest, target: Tensor) => {
      const made: Tensor<'float32'>[] = [];
      const present = sources.map((tensor) => {
        const { shape, read } = tensor;
        if (read === undefined) return tensor;
        const values = runtime.tensor('float32', shape);
        made.push(values);
        read(values.data);
        return values;
      });
      const binding = packing([{ form, sources: present }], [target]);
      const release = () => {
        for (const each of [binding, ...made]) each.dispose();
      };
      return { binding, release };
    };
    return {
      async run() {
        for (const [index, request] of requests.entries()) {
          const { binding, release } = bindOne(request, targets[index]);
          await binding.run().finally(release);
        }
      },
      runSync() {
        for (const [index, request] of requests.entries()) {
          const { binding, release } = bindOne(request, targets[index]);
          binding.runSync();
          release();
        }
      },
      dispose() {},
    };
  };

  const add = (missing: ReadonlyMap<string, PackedRequest>): void => {
    const requests = [...missing.values()];
    const shapes = requests.map(({ form, sources }) =>
      packedShape({ form, shapes: sources.map(({ shape }) => shape) }),
    );
    const extents = shapes.map((shape) =>
      roundUp(
        shape.reduce((a, b) => a * b, 1),
        LINE_NUMBERS,
      ),
    );
    const memory = runtime.tensor('bfloat16', [extents.reduce((a, b) => a + b, 0)]);
    let offset = 0;
    const tensors = shapes.map((shape, index) => {
      const view = runtime.view(memory, offset, shape);
      offset += extents[index];
      return view;
    });
    const sources = [...new Set(requests.flatMap((request) => request.sources))];
    const isLate = sources.some(({ read }) => read !== undefined);
    const binding = (isLate ? latePacking : packing)(requests, tensors);
    const keys = [...missing.keys()];
    const group = { keys, sources, versions: sources.map(() => -1), binding, memory, numUsers: 0 };
    keys.forEach((key, index) => {
      known.set(key, { group, tensor: tensors[index] });
    });
  };

  const release = (group: Group): void => {
    group.numUsers -= 1;
    if (group.numUsers > 0) return;
    for (const key of group.keys) known.delete(key);
    group.binding.dispose();
    group.memory.dispose();
  };

  return {
    hold(requests) {
      const keys = requests.map(keyOf);
      const missing = new Map(keys.flatMap((key, index) => (known.has(key) ? [] : [[key, requests[index]] as const])));
      if (missing.size > 0) add(missing);
      const packed = keys.map((key) => known.get(key)!);
      const groups = [...new Set(packed.map(({ group }) => group))];
      for (const group of groups) group.numUsers += 1;
      return {
        tensors: packed.map(({ tensor }) => tensor),
        stale: () => groups.filter(isStale).map(({ binding }) => binding),
        release: () => groups.forEach(release),
      };
    },
  };
}

/** Whether a source has changed since the last call; each change is told once. */
function isStale({ sources, versions }: Group): boolean {
  let stale = false;
  for (let index = 0; index < sources.length; index++) {
    const { version } = sources[index];
    if (versions[index] === version) continue;
    versions[index] = version;
    stale = true;
  }
  return stale;
}
