/** Packed forms of weights: made once for all graphs that read them, and again when the weight has changed. */
import { packedShape, packingModel } from './onnx/native/packed-weight.js';
import type { SessionCache } from './runtime/session-cache.js';
import type { Binding, PackedForm, Runtime, Tensor } from './runtime/types.js';

/** A weight, and the form it is wanted in. */
export interface PackedSource {
  readonly tensor: Tensor;
  readonly form: PackedForm;
}

/** Packed together by one graph, in one block of memory; freed together. */
interface Group {
  readonly sources: readonly PackedSource[];
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
  hold(sources: readonly PackedSource[]): PackedHold;
}

export function createPackedWeights(runtime: Runtime, sessions: SessionCache): PackedWeights {
  const known = { weight: new Map<Tensor, Packed>(), direction: new Map<Tensor, Packed>() };

  const packing = (sources: readonly PackedSource[], targets: readonly Tensor[]): Binding => {
    const packings = sources.map(({ tensor: { shape }, form }) => ({ shape, form }));
    const key = packings.map(({ shape, form }) => `${form} ${shape}`);
    const session = sessions.get(`pack ${key.join(' ')}`, () => packingModel(packings));
    const named = (letter: string, all: readonly Tensor[]) =>
      Object.fromEntries(all.map((tensor, index) => [`${letter}${index}`, tensor]));
    const inputs = named(
      'w',
      sources.map(({ tensor }) => tensor),
    );
    return session.bind(inputs, named('p', targets));
  };

  /** Sources whose values are made when asked for never stand in memory together. */
  const packingOneByOne = (sources: readonly PackedSource[], targets: readonly Tensor[]): Binding => {
    const bindOne = ({ tensor, form }: PackedSource, index: number) => {
      const { shape, read } = tensor;
      const values = read === undefined ? undefined : runtime.tensor('float32', shape);
      read?.(values!.data);
      const binding = packing([{ tensor: values ?? tensor, form }], [targets[index]]);
      const release = () => {
        binding.dispose();
        values?.dispose();
      };
      return { binding, release };
    };
    return {
      async run() {
        for (const [index, source] of sources.entries()) {
          const { binding, release } = bindOne(source, index);
          await binding.run().finally(release);
        }
      },
      runSync() {
        for (const [index, source] of sources.entries()) {
          const { binding, release } = bindOne(source, index);
          binding.runSync();
          release();
        }
      },
      dispose() {},
    };
  };

  const add = (sources: readonly PackedSource[]): void => {
    const sizes = sources.map(({ tensor: { shape }, form }) => packedShape(shape, form)[0]);
    const memory = runtime.tensor('bfloat16', [sizes.reduce((a, b) => a + b, 0)]);
    let offset = 0;
    const tensors = sizes.map((size) => {
      const view = runtime.view(memory, offset, [size]);
      offset += size;
      return view;
    });
    const isLate = sources.some(({ tensor }) => tensor.read !== undefined);
    const binding = isLate ? packingOneByOne(sources, tensors) : packing(sources, tensors);
    const group = { sources, versions: sources.map(() => -1), binding, memory, numUsers: 0 };
    sources.forEach(({ tensor, form }, index) => {
      known[form].set(tensor, { group, tensor: tensors[index] });
    });
  };

  const release = (group: Group): void => {
    group.numUsers -= 1;
    if (group.numUsers > 0) return;
    for (const { tensor, form } of group.sources) known[form].delete(tensor);
    group.binding.dispose();
    group.memory.dispose();
  };

  return {
    hold(sources) {
      const missing = (['weight', 'direction'] as const).flatMap((form) => {
        const tensors = new Set(sources.filter((source) => source.form === form).map(({ tensor }) => tensor));
        return [...tensors].filter((tensor) => !known[form].has(tensor)).map((tensor) => ({ tensor, form }));
      });
      if (missing.length > 0) add(missing);
      const packed = sources.map(({ tensor, form }) => known[form].get(tensor)!);
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
    const { version } = sources[index].tensor;
    if (versions[index] === version) continue;
    versions[index] = version;
    stale = true;
  }
  return stale;
}
