/** Packed forms of weights: made once for all graphs that read them, and again when the weight has changed. */
import { packedShape, packingModel } from './onnx/native/packed-weight.js';
import type { SessionCache } from './runtime/session-cache.js';
import type { Binding, Runtime, Tensor } from './runtime/types.js';

/** Packed together by one graph, in one block of memory; freed together. */
interface Group {
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
  /** One a source, in order. */
  readonly tensors: readonly Tensor<'bfloat16'>[];
  /** Bindings to run, before anything reads the tensors, for sources that have changed. */
  stale(): readonly Binding[];
  /** Once, when nothing reads the tensors any more. */
  release(): void;
}

export interface PackedWeights {
  hold(sources: readonly Tensor[]): PackedHold;
}

export function createPackedWeights(runtime: Runtime, sessions: SessionCache): PackedWeights {
  const known = new Map<Tensor, Packed>();

  const add = (sources: readonly Tensor[]): void => {
    const shapes = sources.map(({ shape }) => shape);
    const sizes = shapes.map((shape) => packedShape(shape)[0]);
    const memory = runtime.tensor('bfloat16', [sizes.reduce((a, b) => a + b, 0)]);
    let offset = 0;
    const tensors = sizes.map((size) => {
      const view = runtime.view(memory, offset, [size]);
      offset += size;
      return view;
    });
    const session = sessions.get(`pack ${shapes.join(' ')}`, () => packingModel(shapes));
    const named = (letter: string, all: readonly Tensor[]) =>
      Object.fromEntries(all.map((tensor, index) => [`${letter}${index}`, tensor]));
    const binding = session.bind(named('w', sources), named('p', tensors));
    const group = { sources, versions: sources.map(() => -1), binding, memory, numUsers: 0 };
    sources.forEach((source, index) => {
      known.set(source, { group, tensor: tensors[index] });
    });
  };

  const release = (group: Group): void => {
    group.numUsers -= 1;
    if (group.numUsers > 0) return;
    for (const source of group.sources) known.delete(source);
    group.binding.dispose();
    group.memory.dispose();
  };

  return {
    hold(sources) {
      const missing = [...new Set(sources)].filter((source) => !known.has(source));
      if (missing.length > 0) add(missing);
      const packed = sources.map((source) => known.get(source)!);
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
